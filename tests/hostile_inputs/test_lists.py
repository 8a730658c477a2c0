"""Tests `evaluate` with generated lists of sequences, `meta.json` files and settings."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from configs.evaluate import custom, davis2017_val, youtube_vos_2019
from tests.evaluation.harness import run_evaluate
from tests.hostile_inputs.commands import campaign, check, run, snapshot
from tests.hostile_inputs.files import FRAMES, MASKS, encoded, make

PAIR = "JPEGImages/480p/a/00000.jpg Annotations/480p/a/00000.png"
LINES = st.sampled_from(["a", "b", "../a", "/a", "", ".", "a b", PAIR, "\0", "a\tb", "é"])
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-3, 300), st.sampled_from(["00000", "00001", "../x", ""]))
KEYS = st.sampled_from(["videos", "objects", "frames", "a", "1", "0", "-1", "999", ".."])
JSON = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)), max_leaves=8
)
FRAME_LISTS = st.lists(st.sampled_from(["00000", "00001", "00003", "00009", "../x", 1, None]), max_size=3)
OBJECTS = st.dictionaries(
    st.sampled_from(["1", "2", "7", "300", "x"]), st.builds(lambda frames: {"frames": frames}, FRAME_LISTS)
)
META = st.one_of(
    st.builds(lambda objects: {"videos": {"a": {"objects": objects}}}, OBJECTS),
    JSON,
    st.builds(lambda name, objects: {"videos": {name: {"objects": objects}}}, st.sampled_from(["a", "..", "", "b"]), JSON),
)


def benchmark(root: Path) -> None:
    """Writes a valid sequence, `a`, in the layouts of DAVIS and YouTube-VOS."""
    for frames, annotations in (("JPEGImages/480p", "Annotations/480p"), ("valid/JPEGImages", "valid/Annotations")):
        make(
            root / frames / "a",
            [(f"{t:05d}.jpg", "image", encoded(Image.fromarray(frame), "JPEG")) for t, frame in enumerate(FRAMES)],
        )
        make(
            root / annotations / "a",
            [(f"{t:05d}.png", "image", encoded(Image.fromarray(ids), "PNG")) for t, ids in enumerate(MASKS)],
        )


@campaign
@given(
    lines=st.one_of(st.sampled_from([["a"], ["a", "b"], ["", "a"], [PAIR], [PAIR, "a"]]), st.lists(LINES, max_size=4)),
    raw=st.one_of(st.none(), st.none(), st.binary(max_size=20)),
)
def test_lists(world, lines, raw):
    root = world()
    benchmark(root / "in")
    path = root / "in/ImageSets/2017/val.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes("\n".join(lines).encode() if raw is None else raw)
    before = snapshot(root)
    check(run(root / "out", davis2017_val.get_config(), data=root / "in"), before, root, root / "out")


@campaign
@given(meta=META, raw=st.one_of(st.none(), st.none(), st.binary(max_size=9)))
def test_meta_json(world, meta, raw):
    root = world()
    benchmark(root / "in")
    (root / "in/valid/meta.json").write_bytes(json.dumps(meta).encode() if raw is None else raw)
    before = snapshot(root)
    check(run(root / "out", youtube_vos_2019.get_config(), data=root / "in"), before, root, root / "out")


VALUES = {
    bool: st.booleans(),
    int: st.one_of(st.integers(-2, 20), st.sampled_from([10**9, -(10**12)])),
    float: st.one_of(st.sampled_from([0.0, -1.0, float("nan"), float("inf"), 1e300]), st.floats(0, 100)),
    str: st.sampled_from(
        ["", "custom", "davis", "half", "..", "/", "a", "{", "{sequence}", "{sequence}/{frame}.png", "ids", "x" * 300]
    ),
    tuple: st.lists(st.sampled_from([1.0, 0.5, 0.0, -1.0, "a", "..", ""]), max_size=2).map(tuple),
}
FIELDS = {name: VALUES[type(value)] for name, value in custom.get_config().items() if type(value) in VALUES}

CHOSEN = st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=3, unique=True)
SETTINGS = CHOSEN.flatmap(lambda names: st.fixed_dictionaries({name: FIELDS[name] for name in names}))


@campaign
@given(fields=SETTINGS)
def test_settings(world, fields):
    root = world()
    benchmark(root / "in")
    before = snapshot(root)
    check(run_evaluate(fields=fields, data=root / "in", output=root / "out"), before, root, root / "out")
