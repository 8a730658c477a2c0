"""Who may import whom, and that the package stands alone."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools import house

ROOT = Path(__file__).parents[1]
# From the bottom to the top; a room imports only what stands further down.
ORDER = (
    ("hmmn_jax/errors", "hmmn_jax/version"),
    ("hmmn_jax/io", "hmmn_jax/ops"),
    ("hmmn_jax/model",),
    ("hmmn_jax/checkpoints", "hmmn_jax/datasets", "hmmn_jax/metrics"),
    ("hmmn_jax/inference",),
    ("hmmn_jax/evaluation", "hmmn_jax/session"),
    ("hmmn_jax/report", "hmmn_jax/training"),
    ("hmmn_jax/cli",),
    ("hmmn_jax",),  # its public names
    ("configs", "configs/evaluate", "configs/train", "data", "tools"),
    ("scripts",),
)
WITHOUT = "import sys; sys.modules |= dict.fromkeys(('tensorflow', 'torch', 'tensorflow_datasets', 'optax'))"


def test_imports_go_one_way():
    level = {room: i for i, rooms in enumerate(ORDER) for room in rooms}
    graph = house.imports(ROOT)
    assert graph.keys() == level.keys()
    assert house.circles(graph) == []
    upward = {f"{room} -> {other}" for room, others in graph.items() for other in others if level[other] > level[room]}
    assert upward == set()


def test_no_framework_but_jax():
    """PyTorch alone may write its own files; matplotlib and TensorBoard come with extras, and are imported where needed."""
    found = {}
    for path in (ROOT / "hmmn_jax").rglob("*.py"):
        for name in house.imported(path):
            found.setdefault(name.split(".")[0], set()).add(path.relative_to(ROOT).as_posix())
    assert not found.keys() & {"tensorflow", "tensorflow_datasets", "cv2", "data", "configs", "tools", "tests"}
    assert found["torch"] == {"hmmn_jax/checkpoints/torch_file.py"}


def test_circles_and_layers_of_a_small_graph():
    graph = {"a": {"b", "d"}, "b": {"c"}, "c": {"b"}, "d": set()}
    assert house.circles(graph) == [["b", "c"]]
    assert house.layers(graph) == [["a"], ["b", "c", "d"]]
    page = house.picture(graph, {"a": 3, "b": 2, "c": 2, "d": 1})
    assert page.count("<rect") == 3 and page.count('class="arrow"') >= 2  # d, one file that imports nothing, is left out


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """What is installed, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_has_the_package_alone(wheel):
    assert {path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")} == {"hmmn_jax"}
    assert (wheel / "hmmn_jax/report/page.html").is_file()


def test_the_wheel_works_without_tensorflow_and_pytorch_and_the_checkout(wheel, tmp_path):
    """Every module can be imported, and a video is segmented."""
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
print(len(results), results[0].mask.shape)
"""
    quick = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    command = [sys.executable, "-c", program]
    env = quick | {"PYTHONPATH": str(wheel), "PATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout.split("\n")[-2] == "2 (32, 48)", done.stderr
