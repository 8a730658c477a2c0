"""Tests the plot of the metrics of training runs."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from hmmn_jax.cli.curves import main
from hmmn_jax.training.metrics import METRICS_FILE


def write_run(workdir, lines):
    workdir.mkdir()
    (workdir / METRICS_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(workdir)


def test_a_picture_with_and_without_validation(tmp_path):
    losses = [{"step": step, "loss": 1 / step} for step in range(1, 30)]
    one = write_run(tmp_path / "one", losses)
    two = write_run(tmp_path / "two", [*losses, {"step": 29, "validation/jf": 0.5}])
    assert main([one, "--out", str(tmp_path / "one.png")]) == 0
    assert main([one, two, "--out", str(tmp_path / "two.png")]) == 0
    first, second = (np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")) for name in ("one", "two"))
    assert len(second) == 2 * len(first)  # the second picture has an additional diagram of J&F
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 10


def test_a_folder_without_numbers(tmp_path, capsys):
    assert main([str(tmp_path), "--out", str(tmp_path / "out.png")]) == 2
    assert "contains no metrics" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_what_is_no_number_is_left_out(tmp_path, capsys):
    run = tmp_path / "run"
    write_run(run, [{"step": 1, "loss": 0.5}, 5, {"loss": 1}, {"step": 2, "loss": "low"}, {"step": 3, "loss": [1]}])
    with (run / METRICS_FILE).open("ab") as file:
        file.write(b"\xff\n[" * 9)
    assert main([str(run), "--out", str(tmp_path / "out.png")]) == 0
    assert capsys.readouterr().err == ""


def test_a_step_that_no_axis_can_hold_is_left_out(tmp_path, capsys):
    run = write_run(tmp_path / "run", [{"step": step, "loss": 0.5} for step in (1, 10**400, -(10**400), 2)])
    assert main([run, "--out", str(tmp_path / "out.png")]) == 0
    assert capsys.readouterr().err == ""


def test_names_are_shown_as_they_are(tmp_path, capsys, monkeypatch):
    """By default, Matplotlib parses names with `$` as mathematics, and omits names with a leading `_` from the legend."""
    names = [r"$\frac$", "_hidden", r"\$a$", "$", "_nolegend_", "two\nlines", "\udcff"]
    runs = [write_run(tmp_path / name, [{"step": 1, "loss": 0.5}]) for name in names]
    shown, savefig = [], Figure.savefig

    def look(figure, *arguments, **named):
        savefig(figure, *arguments, **named)
        shown.extend(text.get_text() for text in figure.axes[0].get_legend().get_texts())

    monkeypatch.setattr(Figure, "savefig", look)
    assert main([*runs, "--out", str(tmp_path / "out.png")]) == 0
    assert shown == [*names[:5], "two?lines", "?"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("out", ["/", ".."])
def test_a_picture_needs_a_name(tmp_path, capsys, out):
    run = write_run(tmp_path / "run", [{"step": 1, "loss": 0.5}])
    assert main([run, "--out", out]) == 2
    err = capsys.readouterr().err
    assert err.endswith(" is a folder. Pass the name of a file\n") and err.count("\n") == 1


def test_a_picture_is_replaced_only_if_it_is_one_of_these(tmp_path, capsys):
    run, mine = write_run(tmp_path / "run", [{"step": 1, "loss": 0.5}]), tmp_path / "mine.png"
    mine.write_text("mine")
    assert main([run, "--out", str(mine)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"curves: {mine} was not written by this program") and err.count("\n") == 1
    assert mine.read_text() == "mine"
    assert main([run, "--out", str(tmp_path / "out.png")]) == main([run, "--out", str(tmp_path / "out.png")]) == 0


def test_a_run_in_a_bucket(tmp_path, capsys, bucket):
    bucket.pipe(f"gs://b/run/{METRICS_FILE}", b'{"step": 1, "loss": 0.5}\n')
    assert main(["gs://b/run", "--out", str(tmp_path / "out.png")]) == 0 and (tmp_path / "out.png").is_file()
    assert main(["gs://b/run", "--out", "gs://b/out.png"]) == 2
    assert "gs://b/out.png: the path is in a bucket" in capsys.readouterr().err


def test_a_error_in_the_command_line_is_one_line(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert (
        capsys.readouterr().err == "curves: the following arguments are required: --out. See curves --help for the options.\n"
    )
