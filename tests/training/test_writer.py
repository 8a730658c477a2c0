"""Tests the files with the metrics and pictures of a run."""

import json
import resource

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from hmmn_jax.errors import DataError
from hmmn_jax.training.metrics import read_metrics
from hmmn_jax.training.writer import Writer


def board(workdir):
    """Returns (step, name) of every metric and picture in the TensorBoard files."""
    found = []
    for path in (workdir / "tensorboard").iterdir():
        content = path.read_bytes()
        while content:
            size = int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12 : 12 + size])
            found += [(event.step, value.tag) for value in event.summary.value]
            content = content[16 + size :]
    return sorted(found)


def test_numbers_and_a_picture(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    with Writer(tmp_path, 0) as writer:
        writer.scalars(1, {"loss": 0.5, "rate": 1e-5})
        writer.picture(2, "masks", rgb)
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [
        {"step": 1, "loss": 0.5, "rate": 1e-5}
    ]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "pictures/masks/0000002.png")), rgb)
    assert board(tmp_path) == [(1, "loss"), (1, "rate"), (2, "masks")]


def test_a_line_is_there_at_once(tmp_path):
    with Writer(tmp_path, 0) as writer:
        writer.scalars(1, {"loss": 0.5})
        assert read_metrics(tmp_path) == [{"step": 1, "loss": 0.5}]


def test_what_comes_again_is_dropped(tmp_path):
    """A run was killed after step 5, while it wrote the next line. The run resumes from step 3.

    Lines of later steps are dropped, because the resumed run writes them again.
    """
    with Writer(tmp_path, 0) as writer:
        for step in range(1, 6):
            writer.scalars(step, {"loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    with Writer(tmp_path, 3) as writer:
        writer.scalars(4, {"loss": 2.0})
    assert [(line["step"], line["loss"]) for line in read_metrics(tmp_path)] == [(1, 1), (2, 1), (3, 1), (4, 2)]


def test_lines_of_a_user_stay(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\nmine \xff\n5\n{"step": 4}\n{"note": 9}\n{"step": 2}\n')
    with Writer(tmp_path, 3):
        pass
    assert (tmp_path / "metrics.jsonl").read_bytes() == b'{"step": 1}\nmine \xff\n5\n{"note": 9}\n{"step": 2}\n'


@pytest.mark.parametrize(
    ("found", "left"),
    [
        (b"mine", b"mine\n"),
        (b'{"step": 9, "lo', b'{"step": 9, "lo\n'),
        (b'{"step": 2}', b'{"step": 2}\n'),
        (b'{"step": 9, "loss": 1.0}', b""),
        (b'mine\n{"step": 9, "loss": NaN}', b"mine\n"),
        (b'{"step": 9, "note": "mine"}\n', b'{"step": 9, "note": "mine"}\n'),
        (b"a\rb\x0c\r\n\n", b"a\rb\x0c\r\n\n"),
        (b'mine\r{"step": 9}\n', b'mine\r{"step": 9}\n'),
        (b'{"step": ' + b"9" * 5000 + b"}\n", b'{"step": ' + b"9" * 5000 + b"}\n"),
    ],
)
def test_only_what_the_program_writes_of_later_steps_is_dropped(tmp_path, found, left):
    (tmp_path / "metrics.jsonl").write_bytes(found)
    with Writer(tmp_path, 3):
        pass
    assert (tmp_path / "metrics.jsonl").read_bytes() == left


def test_a_picture_of_a_user_stays_and_the_run_continues(tmp_path, capsys):
    mine = tmp_path / "pictures/masks/0000002.png"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with Writer(tmp_path, 0) as writer:
        writer.picture(2, "masks", np.zeros((8, 12, 3), np.uint8))
    assert mine.read_text() == "mine"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"NOTE: a picture is skipped: {mine}")


def test_a_full_disk_is_reported_at_once(tmp_path):
    """The size of files is limited to 2 kB. At this limit, the run stops with an error and does not hang."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(DataError, match=r"cannot be written: File too large"), Writer(tmp_path, 0) as writer:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
            for step in range(1, 100):
                writer.scalars(step, {"loss": 0.5})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert 9 < len(read_metrics(tmp_path)) < 99
