"""Tests evaluations of all folder layouts with the bundled model. `tests.evaluation.trees` writes the folders."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from hmmn_jax.cli import evaluate as module
from hmmn_jax.cli.request import Request
from hmmn_jax.evaluation.benchmarks import benchmark_settings
from hmmn_jax.io.buckets import AnyPath
from hmmn_jax.io.files import user_path
from tests.evaluation import trees

LITE: AnyPath = user_path("lite")


@pytest.mark.slow
@pytest.mark.parametrize("name", trees.LAYOUTS)
def test_a_layout_with_the_model_of_the_package(tmp_path, name):
    trees.LAYOUTS[name](tmp_path / "in")
    config = benchmark_settings(name)
    config.max_memory_frames = 1 if name == "custom" else config.max_memory_frames
    module.evaluate(Request(config, data=tmp_path / "in", output=tmp_path / "run", checkpoint=LITE))
    masks = sorted((tmp_path / "run/masks").rglob("*.png"))
    assert masks and (tmp_path / "run/report.html").stat().st_size > 5000
    if config.submission:
        with zipfile.ZipFile(tmp_path / "run/submission.zip") as archive:
            assert len(archive.namelist()) == len(masks)
            with Image.open(io.BytesIO(archive.read(archive.namelist()[0]))) as image:
                assert image.mode == "P"
    elif name == "burst_val":
        result = json.loads((tmp_path / "run/submission.json").read_text())
        assert [len(sequence["segmentations"]) for sequence in result["sequences"]] == [4, 4]
    else:
        summary = json.loads((tmp_path / "run/summary.json").read_text())
        assert summary["objects"] == {"lvos_val": 3, "vost_val": 3, "long_video": 2, "sav_val": 3, "custom": 300}[name]
        assert summary["not_scored"] == {}
    if name == "custom":  # 16-bit ids with gaps
        with Image.open(tmp_path / "run/masks/flock/00001.png") as image:
            ids = np.unique(np.asarray(image))
        assert ids.max() > 255 and set(ids.tolist()) <= {0, *range(1, 600, 2)}
