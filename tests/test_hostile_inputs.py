"""Commands with generated folders, masks, lists, settings, checkpoints and output folders.

    EXAMPLES=1000 python -m pytest tests/test_hostile_inputs.py                 # many more
    EXAMPLES=25 PROCESSES=1 python -m pytest tests/test_hostile_inputs.py       # each as a process of its own

Invariants: the exit code is 0, 1 or 2; no exception is raised; each error is one line with a file, field or flag; existing
files do not change, except those in the record of the run; no incomplete files are left.
"""

import io
import json
import os
import shutil
import string
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from PIL import Image

from configs.evaluate import custom, davis2017_val, youtube_vos_2019
from hmmn_jax.checkpoints.store import METADATA_KEY, config_to_json, load_checkpoint, save_checkpoint
from hmmn_jax.checkpoints.torch_file import write_torch_file
from hmmn_jax.checkpoints.torch_weights import to_torch
from hmmn_jax.errors import HMMNError
from hmmn_jax.evaluation.run_folder import OUTPUTS
from hmmn_jax.io.record import Record, sha256
from tests.evaluation.harness import Outcome, discs, run_evaluate
from tests.programs import run_script
from tests.small import TINY, variables

EXAMPLES, PROCESSES = int(os.environ.get("EXAMPLES", "12")), bool(os.environ.get("PROCESSES"))

FRAMES, MASKS = discs(4, 32, 48, 2)

campaign = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES < 100,  # the same examples in each CI run
    suppress_health_check=list(HealthCheck),
    database=None,
)

# --- Files. ---


def encoded(picture: Image.Image, kind: str, **how) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **how)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[274] = orientation
    return data


@st.composite
def images(draw) -> bytes:
    """Files that are mostly images: of any mode, depth, format and size, some damaged, some with several pages."""
    frame = FRAMES[draw(st.integers(0, 3))]
    height, width = draw(st.sampled_from([(32, 48)] * 8 + [(48, 32), (32, 47), (1, 1), (16, 16)]))
    picture = Image.fromarray(frame).resize((width, height))
    mode = draw(st.sampled_from(["RGB"] * 6 + ["L", "P", "1", "RGBA", "LA", "I;16", "I", "F", "CMYK"]))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * draw(st.sampled_from([1, 16, 257])))
    else:
        picture = picture.convert(mode)
    kinds = {"RGB": ["JPEG"] * 6 + ["PNG", "BMP", "WEBP", "TIFF", "GIF"], "CMYK": ["JPEG", "TIFF"], "F": ["TIFF"]}
    kind = draw(st.sampled_from(kinds.get(mode, {"I;16": ["PNG", "TIFF"], "I": ["TIFF"]}.get(mode, ["PNG"]))))
    how = {"exif": exif(draw(st.integers(1, 8)))} if kind == "JPEG" and draw(st.booleans()) else {}
    if kind in ("TIFF", "WEBP", "GIF") and draw(st.booleans()):
        how |= {"save_all": True, "append_images": [picture] * draw(st.integers(1, 3))}
    return draw(damage(encoded(picture, kind, **how)))


@st.composite
def masks(draw) -> bytes:
    """Files that are mostly masks: indexed with any palette, grey, one bit, colour, 16 bits; ids of any kind."""
    ids = MASKS[draw(st.integers(0, 3))]
    ids = np.asarray(draw(st.lists(st.integers(0, 255), min_size=3, max_size=3)), np.uint8)[ids]
    size = draw(st.sampled_from([(48, 32)] * 8 + [(32, 48), (47, 32), (1, 1), (96, 64)]))
    how = draw(st.sampled_from(["ids", "ids", "grey", "smooth", "noise", "bit", "rgb", "rgba", "wide"]))
    picture = Image.fromarray(ids).resize(size, Image.Resampling.NEAREST)
    if how == "ids":
        palette = draw(st.sampled_from([range(768), range(767, -1, -1), [0] * 768, [255, 255, 255, 0, 0, 0, 9, 9, 9]]))
        picture.putpalette([value % 256 for value in palette])
    elif how == "smooth":
        picture = picture.resize((8, 8)).resize(size, Image.Resampling.BILINEAR)
    elif how == "noise":
        picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, size[::-1], np.uint8))
    elif how == "wide":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * draw(st.sampled_from([1, 300])))
    elif how != "grey":
        picture = picture.convert({"bit": "1", "rgb": "RGB", "rgba": "RGBA"}[how])
    return draw(damage(encoded(picture, draw(st.sampled_from(["PNG"] * 9 + ["TIFF"])))))


@st.composite
def damage(draw, data: bytes, often: bool = False) -> bytes:
    """Truncated, with flipped bytes, empty, or other content; mostly undamaged, unless `often` is set."""
    how = draw(st.sampled_from(["none"] * (1 if often else 12) + ["cut", "flip", "empty", "text"]))
    if how == "cut":
        return data[: draw(st.integers(0, len(data)))]
    if how == "flip":
        changed = bytearray(data)
        for place in draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=4)):
            changed[place] ^= draw(st.integers(1, 255))
        return bytes(changed)
    return {"none": data, "empty": b"", "text": b"this is no image\n"}[how]


def indexed(ids: np.ndarray) -> bytes:
    picture = Image.fromarray(ids)
    picture.putpalette(list(range(256)) * 3)
    return encoded(picture, "PNG")


GOOD_MASKS = [indexed(ids) for ids in MASKS]
NUMBERED = st.builds("{}{}".format, st.sampled_from(["", "", "frame", "frame_", "-", "+", "0.", "IMG ("]), st.integers(0, 12))
ODD = st.text(st.sampled_from(string.ascii_letters + " .-_#%é中\n\t\\'\"<>&$`"), min_size=1, max_size=12)
STEMS = st.one_of(NUMBERED, NUMBERED, NUMBERED, NUMBERED, ODD)
SUFFIXES = st.sampled_from(
    [".jpg"] * 8 + [".png", ".JPG", ".jpeg", ".tif", ".webp", ".gif", ".heic", ".txt", ".db", "", ".mp4"]
)
KINDS = st.sampled_from(["image"] * 14 + ["mask", "link", "dangling", "folder", "fifo"])


GOOD_FRAMES = [encoded(Image.fromarray(frame), "JPEG") for frame in FRAMES]


@st.composite
def folders(draw) -> list[tuple[str, str, bytes]]:
    """Entries of a folder, name, kind and content: mostly good frames, with a few others."""
    odd = draw(st.lists(st.tuples(st.builds("{}{}".format, STEMS, SUFFIXES), KINDS, images()), max_size=3))
    if draw(st.integers(0, 3)):
        good = [(f"{t:05d}.jpg", "image", content) for t, content in enumerate(GOOD_FRAMES)]
        odd = draw(st.sampled_from([[], [], odd[:1], odd]))
        return [*good[: draw(st.integers(1, 4))], *odd]
    return odd


def given_masks() -> st.SearchStrategy[bytes]:
    """Mostly good."""
    return st.one_of(*[st.sampled_from(GOOD_MASKS)] * 3, masks())


def make(folder: Path, entries: list[tuple[str, str, bytes]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, kind, content in entries:
        path = folder / name
        if len(name.encode()) > 200 or name in (".", "..") or os.path.lexists(path):
            continue
        if kind == "folder":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "dangling":
            path.symlink_to(folder / "not there")
        elif kind == "link":
            target = folder.parent / f"target of {len(list(folder.parent.iterdir()))}"
            target.write_bytes(content)
            path.symlink_to(target)
        else:
            path.write_bytes(content)


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


# --- Commands and invariants. ---


def snapshot(root: Path) -> dict[str, bytes | str]:
    """Every file with its bytes, every link with its target."""
    found = {}
    for folder, _, names in os.walk(root):
        for path in (Path(folder) / name for name in names):
            if path.is_symlink():
                found[str(path)] = os.readlink(path)
            elif path.is_file():
                found[str(path)] = path.read_bytes()
    return found


def recorded(output: Path) -> dict[str, list[str]]:
    """All files of all records, by path."""
    paths = (output / "record").rglob("*.json") if (output / "record").is_dir() else ()
    records = [Record.load(output, path) for path in paths if path.name != "run.json" and '"files"' in path.read_text()]
    return {str(output / name): digests for record in records for name, digests in record.files.items()}


def check(done: Outcome, before: dict, root: Path, output: Path) -> None:
    event(f"exit code {done.code}")
    assert done.code in (0, 1, 2), done
    assert "Traceback" not in done.err, done.err
    if done.code:
        assert "evaluate.py: " in done.err, done
        assert all(
            line.startswith(("evaluate.py: ", "  ", "NOTE: "))
            for line in done.err.splitlines()
            if "videos are already complete" not in line
        ), done.err
    after, ours = snapshot(root), recorded(output)
    for path, content in before.items():
        assert path in ours or after.get(path) == content, f"{path} was changed"
    for path in after.keys() - before.keys():
        inside = Path(path).relative_to(output)
        assert inside.parts[0] == "record" or sha256(Path(path)) in ours[path], f"{path} is in no record"
        assert ".part" not in path and "unfinished" not in path, f"{path} is half-written"
        if inside.parts[0] == "masks":
            Image.open(path).load()


def run(output: Path, config, fields: dict | None = None, **request) -> Outcome:
    if not PROCESSES:
        return run_evaluate(config=config, fields=fields, output=output, **request)
    name = {"custom": "custom", "davis": "davis2017_val", "youtube_vos": "youtube_vos_2019"}[config.protocol]
    checkpoint = Path(tempfile.gettempdir()) / f"hostile_checkpoint_{os.getpid()}"
    if not checkpoint.exists():
        save_checkpoint(checkpoint, variables(TINY), TINY)
    flags = [f"--{key}={value}" for key, value in request.items()]
    overrides = [f"--config.{key}={value}" for key, value in (fields or {}).items()]
    given = [f"--config=configs/evaluate/{name}.py", f"--output={output}", f"--checkpoint={checkpoint}"]
    done = run_script("evaluate.py", *given, *flags, *overrides)
    lines = done.stderr.replace("\r", "\n").splitlines()
    said = [line for line in lines if line.strip() and not ("frame" in line and line.endswith("]"))]  # no progress bar
    return Outcome(done.returncode, done.stdout, "".join(f"{line}\n" for line in said))


@pytest.fixture
def world():
    """Yields new empty folders with short names."""
    made = []

    def new():
        made.append(Path(tempfile.mkdtemp()))
        return made[-1]

    yield new
    for folder in made:
        shutil.rmtree(folder)


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
    for _ in range(2):  # the second run starts with the output of the first
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
    """One valid sequence, `a`, in the layouts of DAVIS and YouTube-VOS."""
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


# --- Checkpoints: they are read, or rejected in one line. ---


@pytest.fixture(scope="module")
def checkpoint_files(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    write_torch_file(root / "x.safetensors", to_torch(variables(TINY), TINY), {METADATA_KEY: config_to_json(TINY)})
    save_checkpoint(root / "folder", variables(TINY), TINY)
    return root


def load_or_refuse(path: Path, root: Path) -> None:
    before = snapshot(root)
    try:
        load_checkpoint(path)
    except HMMNError as error:
        event("refused")
        assert len(str(error).splitlines()) <= 12 and str(root) in str(error)
    assert snapshot(root) == before


@campaign
@given(data=st.data())
def test_checkpoint_files(world, checkpoint_files, data):
    root = world()
    (root / "x.safetensors").write_bytes(data.draw(damage((checkpoint_files / "x.safetensors").read_bytes(), often=True)))
    load_or_refuse(root / "x.safetensors", root)


@settings(campaign, max_examples=max(EXAMPLES // 6, 1))  # each takes a second
@given(data=st.data())
def test_checkpoint_folders(world, checkpoint_files, data):
    """A file of the folder is damaged or replaced."""
    root = world()
    shutil.copytree(checkpoint_files / "folder", root / "folder")
    members = sorted(path for path in (root / "folder").rglob("*") if path.is_file())
    member, other = (data.draw(st.sampled_from(members)) for _ in range(2))
    member.write_bytes(data.draw(damage(data.draw(st.sampled_from([member, other])).read_bytes(), often=True)))
    load_or_refuse(root / "folder", root)
