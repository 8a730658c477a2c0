"""The picture of a run's numbers."""

import json

import numpy as np
import pytest
from PIL import Image

from hmmn_jax.training.curves import main
from hmmn_jax.training.writer import METRICS_FILE


def write_run(workdir, lines):
    workdir.mkdir()
    (workdir / METRICS_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(workdir)


def test_a_picture_with_and_without_validation(tmp_path):
    losses = [{"step": step, "loss": 1 / step} for step in range(1, 30)]
    one = write_run(tmp_path / "one", losses)
    two = write_run(tmp_path / "two", [*losses, {"step": 29, "validation/jf": 0.5}])
    main([one, "--out", str(tmp_path / "one.png")])
    main([one, two, "--out", str(tmp_path / "two.png")])
    first, second = (Image.open(tmp_path / f"{name}.png") for name in ("one", "two"))
    assert second.height == 2 * first.height  # a second diagram, for J&F
    assert len(np.unique(np.asarray(first.convert("RGB")).reshape(-1, 3), axis=0)) > 10


def test_a_folder_without_numbers(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), "--out", str(tmp_path / "out.png")])
    assert stopped.value.code == 2
    assert "no numbers in it" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()
