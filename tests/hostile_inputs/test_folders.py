"""Tests `evaluate` with generated frame folders, masks and output folders."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from configs.evaluate import custom
from hmmn_jax.evaluation.run_folder import OUTPUTS
from tests.hostile_inputs.commands import campaign, check, run, snapshot
from tests.hostile_inputs.files import GOOD_MASKS, folders, make, masks


def given_masks() -> st.SearchStrategy[bytes]:
    """Generates masks, most of which are valid."""
    return st.one_of(*[st.sampled_from(GOOD_MASKS)] * 3, masks())


TAKEN = st.sampled_from([*OUTPUTS, "record", "notes.txt", "clip", ".hidden"])
OUTPUT_ENTRIES = st.one_of(
    st.just([]),
    st.just([("notes.txt", "file")]),
    st.lists(st.tuples(TAKEN, st.sampled_from(["file", "folder", "full"])), max_size=2),
)


def make_output(folder: Path, entries: list[tuple[str, str]]) -> None:
    folder.mkdir(parents=True)
    for name, kind in dict(entries).items():
        path = folder / name
        if kind == "file":
            path.write_text("the user's")
        else:
            path.mkdir()
            if kind == "full":
                (path / "clip").mkdir()
                (path / "clip" / "00000.png").write_text("the user's")


@campaign
@given(
    entries=folders(),
    mask=given_masks(),
    output=OUTPUT_ENTRIES,
    inside=st.booleans(),
    fields=st.sampled_from([{}, {}, {"order": "name"}, {"mask_values": "ids"}, {"mask_values": "threshold"}]),
)
def test_a_folder_and_a_mask(world, entries, mask, output, inside, fields):
    root = world()
    make(root / "clip", entries)
    given_mask = root / ("clip" if inside else ".") / "mask.png"
    if not os.path.lexists(given_mask):
        given_mask.write_bytes(mask)
    make_output(root / "out", output)
    before = snapshot(root)
    for _ in range(2):  # the second run uses the output folder of the first run
        done = run(root / "out", custom.get_config(), fields, frames=root / "clip", mask=given_mask)
        check(done, before, root, root / "out")


VIDEOS = st.sampled_from(["a", "b", "clip 1", "..mp4", "x.mp4", "Thumbs.db", "@eaDir", "é"])


@campaign
@given(
    videos=st.lists(st.tuples(VIDEOS, folders(), st.lists(given_masks(), max_size=3)), max_size=3),
    late=st.booleans(),
    output=OUTPUT_ENTRIES,
)
def test_own_sets(world, videos, late, output):
    root = world()
    for name, entries, given_masks in videos:
        if "." in name:
            (root / "in/JPEGImages").mkdir(parents=True, exist_ok=True)
            (root / "in/JPEGImages" / name).write_bytes(entries[0][2] if entries else b"")
            continue
        make(root / "in/JPEGImages" / name, entries)
        (root / "in/Annotations" / name).mkdir(parents=True, exist_ok=True)
        for (frame, _, _), mask in zip(entries, given_masks, strict=False):
            path = root / "in/Annotations" / name / f"{Path(frame).stem}.png"
            if not os.path.lexists(path):
                path.write_bytes(mask)
    make_output(root / "out", output)
    before = snapshot(root)
    for _ in range(2):
        done = run(root / "out", custom.get_config(), {"late_objects": late}, data=root / "in")
        check(done, before, root, root / "out")
