"""Tests the imports between folders, the dependencies of the package, and the wheel."""

import email
import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from hmmn_jax.io.bundled import WEIGHTS
from hmmn_jax.version import __version__
from tools import house

ROOT = Path(__file__).parents[1]
# Layers of folders, from bottom to top. A folder only imports folders in its own layer or in a layer below.
ORDER = (
    ("hmmn_jax/errors", "hmmn_jax/version"),
    ("hmmn_jax/io", "hmmn_jax/ops"),
    ("hmmn_jax/model",),
    ("hmmn_jax/checkpoints", "hmmn_jax/datasets", "hmmn_jax/exports", "hmmn_jax/metrics"),
    ("hmmn_jax/inference",),
    ("hmmn_jax/evaluation", "hmmn_jax/session"),
    ("hmmn_jax/paint", "hmmn_jax/report", "hmmn_jax/training"),
    ("hmmn_jax/cli",),
    ("hmmn_jax",),  # `hmmn_jax/__init__.py`
    ("configs", "configs/evaluate", "configs/train", "data", "tools"),
    ("benchmarks", "scripts"),
)
WITHOUT = "import sys; sys.modules |= dict.fromkeys(('tensorflow', 'torch', 'tensorflow_datasets', 'optax', 'resource'))"


def test_imports_have_one_direction():
    level = {room: i for i, rooms in enumerate(ORDER) for room in rooms}
    graph = house.imports(ROOT)
    assert graph.keys() == level.keys()
    assert house.circles(graph) == []
    upward = {f"{room} -> {other}" for room, others in graph.items() for other in others if level[other] > level[room]}
    assert upward == set()


def test_every_file_has_a_room():
    """`tools/house.py` lists all folders with Python code, except `docs` and `tests`. No listed file imports `tests`."""
    assert {path.parent.name for path in ROOT.glob("[!.]*/*.py")} - {"docs", "tests"} == set(house.PACKAGES)
    assert {path.name for path in ROOT.glob("*.py")} == set(house.SCRIPTS)
    for paths in house.rooms(ROOT).values():
        assert [path for path in paths if any(name.split(".")[0] == "tests" for name in house.imported(path))] == []


def test_no_framework_but_jax():
    """Only one module imports PyTorch, because PyTorch checkpoints cannot be written without it.

    matplotlib and tensorboardX are allowed. These packages are optional, and only functions that use a package import it.
    """
    found = {}
    for path in (ROOT / "hmmn_jax").rglob("*.py"):
        for name in house.imported(path):
            found.setdefault(name.split(".")[0], set()).add(path.relative_to(ROOT).as_posix())
    assert not found.keys() & {"tensorflow", "tensorflow_datasets", "cv2", "data", "configs", "tools", "benchmarks"}
    assert found["torch"] == {"hmmn_jax/checkpoints/torch_file.py"}


def test_every_imported_package_is_declared():
    """Every imported package is in `dependencies` or in one of the `optional-dependencies` of `pyproject.toml`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {"av": "video", "matplotlib": "train", "optax": "train", "tensorboardX": "train", "torch": "torch"}
    extras |= {"starlette": "paint", "uvicorn": "paint"}
    found = {name.split(".")[0] for path in (ROOT / "hmmn_jax").rglob("*.py") for name in house.imported(path)}
    found -= {"hmmn_jax", *sys.stdlib_module_names}
    assert extras.keys() <= found
    homes = importlib.metadata.packages_distributions()
    needed = {_normal(homes[name][0]) for name in found - extras.keys()}
    needed |= {"filelock"}  # if filelock is installed, JAX uses it to limit the size of the compilation cache
    assert needed == {_normal(requirement) for requirement in project["dependencies"]}
    for name, extra in extras.items():
        assert _normal(name) in map(_normal, project["optional-dependencies"][extra])


def _normal(requirement):
    """Returns the normalised name of the package in a requirement."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_the_citation_has_the_version():
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    assert f"version: {__version__}" in lines


def test_circles_and_layers_of_a_small_graph():
    graph = {"a": {"b", "d"}, "b": {"c"}, "c": {"b"}, "d": set()}
    assert house.circles(graph) == [["b", "c"]]
    assert house.layers(graph) == [["a"], ["b", "c", "d"]]
    page = house.picture(graph, {"a": 3, "b": 2, "c": 2, "d": 1})
    assert page.count("<rect") == 3 and page.count('class="arrow"') >= 2  # d is not drawn, because it is a file without imports


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Builds and unpacks the wheel. Returns the folder of the unpacked files."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_has_the_package_alone(wheel):
    assert {path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")} == {"hmmn_jax"}
    for name in ("report/page.html", "py.typed", "weights/LICENSE.md", "demo_clip/ImageSets/2017/val.txt"):
        assert (wheel / "hmmn_jax" / name).is_file()
    assert len(list((wheel / "hmmn_jax/demo_clip").rglob("*.jpg"))) == 40
    (entry_points,) = wheel.glob("*.dist-info/entry_points.txt")
    assert entry_points.read_text().split() == ["[console_scripts]", "hmmn-jax", "=", "hmmn_jax.cli.main:script"]


def test_the_metadata_says_what_the_weights_are_under(wheel):
    (folder,) = wheel.glob("*.dist-info")
    metadata = email.message_from_string((folder / "METADATA").read_text())
    assert metadata["License-Expression"] == "Apache-2.0 AND LicenseRef-hmmn-jax-weights"
    texts = [(folder / "licenses" / name).read_text() for name in metadata.get_all("License-File")]
    assert sum("LicenseRef-hmmn-jax-weights" in text for text in texts) == 1
    assert all(any(file.name in text for text in texts) for file in WEIGHTS.values())
    assert metadata.get_all("Project-URL")


def test_the_wheel_works_without_tensorflow_and_pytorch_and_the_checkout(wheel, tmp_path):
    """Imports all modules that do not need optax, segments a video, and scores the annotations of the demo clip."""
    program = f"""{WITHOUT}
import importlib, pathlib, numpy as np
import hmmn_jax
home = pathlib.Path(hmmn_jax.__file__).parent
assert home == pathlib.Path({str(wheel / "hmmn_jax")!r}), home
for path in sorted(home.rglob("*.py")):
    name = ".".join(path.relative_to(home.parent).with_suffix("").parts).removesuffix(".__init__")
    if "optax" not in path.read_text() and "training" not in name:
        importlib.import_module(name)
from hmmn_jax.model.backbones import ResNet
config = hmmn_jax.HMMNConfig(ResNet(8, (1, 1, 1), (8, 8, 8)), decoder_dim=8)
segmenter = hmmn_jax.Segmenter(hmmn_jax.HMMN(config).init_variables(__import__("jax").random.key(0)), config)
frames = np.zeros((3, 32, 48, 3), np.uint8)
results = list(segmenter.run(frames, np.eye(32, 48, dtype=np.uint8)))
from hmmn_jax.cli.main import main
assert main(["score", str(home / "demo_clip/Annotations/240p"), "--benchmark=demo", "--data", str(home / "demo_clip")]) == 0
print(len(results), results[0].mask.shape)
"""
    quick = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    command = [sys.executable, "-c", program]
    env = quick | {"PYTHONPATH": str(wheel), "PATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout.split("\n")[-2] == "2 (32, 48)", done.stderr
