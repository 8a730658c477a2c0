"""Tests scores of masks on disk: values, written files and error messages."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from configs.evaluate import davis2017_val
from hmmn_jax.datasets.davis import read_davis
from hmmn_jax.datasets.folders import VideoFiles
from hmmn_jax.errors import DataError
from hmmn_jax.evaluation import score_files as module
from hmmn_jax.evaluation.clips import open_sequence
from hmmn_jax.evaluation.protocols import Task, make_protocol
from hmmn_jax.evaluation.score_files import score_folder, score_table, write_scores
from hmmn_jax.io.images import write_mask
from hmmn_jax.metrics.davis import score_sequence
from tests.evaluation.plans import plans, scored

HEIGHT, WIDTH = 40, 56
LENGTHS = {"cat": 5, "dog": 4}


def masks(rng, frames):
    """Returns id masks `[T,H,W]` of two boxes that move randomly."""
    ids = np.zeros((frames, HEIGHT, WIDTH), np.uint8)
    for t in range(frames):
        for k in (1, 2):
            y, x = rng.integers(0, 20, 2)
            ids[t, y : y + 15, x + 12 * k : x + 12 * k + 9] = k
    return ids


@pytest.fixture
def world(tmp_path):
    """Writes a DAVIS folder and predictions. Returns the prediction folder, the sequences, and (pred, truth) arrays by name."""
    rng = np.random.default_rng(0)
    arrays = {name: (masks(rng, frames), masks(rng, frames)) for name, frames in LENGTHS.items()}
    for name, (pred, truth) in arrays.items():
        for t in range(len(truth)):
            frame = tmp_path / f"davis/JPEGImages/480p/{name}/{t:05d}.jpg"
            frame.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (WIDTH, HEIGHT)).save(frame)
            write_mask(tmp_path / f"davis/Annotations/480p/{name}/{t:05d}.png", truth[t])
            if 0 < t < len(truth) - 1:  # the first and the last frame are not scored
                write_mask(tmp_path / f"pred/{name}/{t:05d}.png", pred[t])
    (tmp_path / "davis/ImageSets/2017").mkdir(parents=True)
    (tmp_path / "davis/ImageSets/2017/val.txt").write_text("\n".join(LENGTHS))
    return tmp_path / "pred", read_davis(tmp_path / "davis", 2017, "val"), arrays


def same(found, expected):
    return found.name == expected.name and np.array_equal(found.j, expected.j) and np.array_equal(found.f, expected.f)


@pytest.mark.parametrize("single_object", [False, True])
def test_files_score_as_arrays_do(world, single_object):
    folder, sequences, arrays = world
    found = scored(folder, sequences, single_object)
    for scores, (name, (pred, truth)) in zip(found, arrays.items(), strict=True):
        assert same(scores, score_sequence(pred, truth, single_object, name))
        assert 0 < scores.j.mean() < 1 and scores.j.shape[0] == (1 if single_object else 2)


def test_several_processes_score_alike_and_name_errors(world, monkeypatch):
    folder, sequences, _ = world
    monkeypatch.setattr(module, "FRAMES_WORTH_A_PROCESS", 1)
    assert all(map(same, scored(folder, sequences, processes=2), scored(folder, sequences)))
    (folder / "dog" / "00002.png").write_bytes(b"")
    scores, failures = score_folder(folder, plans(sequences), processes=2)
    assert [s.name for s in scores] == ["cat"] and "dog/00002.png: the file is empty" in failures["dog"]


def test_masks_of_0_and_255_and_annotations_one_pixel_off(world):
    folder, sequences, arrays = world
    for t in range(5):
        write_mask(sequences[0].masks[t], (arrays["cat"][0][t] > 0).astype(np.uint8) * 255)
    scores = scored(folder, sequences[:1], single_object=True)
    assert (scores[0].j == 1).all() and (scores[0].f == 1).all()
    write_mask(sequences[0].masks[1], np.zeros((HEIGHT, WIDTH - 1), np.uint8))
    with pytest.warns(UserWarning, match="00001.png: the mask has 55x40"):
        assert scored(folder, sequences[:1], single_object=True)[0].j.tolist() == [[0, 1, 1]]


def _missing(folder, sequences):
    (folder / "dog" / "00001.png").unlink()


def _missing_sequence(folder, sequences):
    (folder / "dog").rename(folder / "hound")


def _wrong_id(folder, sequences):
    write_mask(folder / "dog" / "00001.png", np.full((HEIGHT, WIDTH), 3, np.uint8))


def _wrong_size(folder, sequences):
    write_mask(folder / "dog" / "00001.png", np.ones((HEIGHT + 1, WIDTH), np.uint8))


def _wrong_format(folder, sequences):
    Image.new("L", (WIDTH, HEIGHT)).save(folder / "dog" / "00001.png", format="JPEG")


def _truncated(folder, sequences):
    path = folder / "dog" / "00001.png"
    path.write_bytes(path.read_bytes()[:-30])


def _no_annotation(folder, sequences):
    sequences[1] = VideoFiles("dog", sequences[1].frames, {0: sequences[1].masks[0]})


def _too_short(folder, sequences):
    sequences[1] = VideoFiles("dog", sequences[1].frames[:2], {t: sequences[1].masks[t] for t in range(2)})


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_missing, "pred/dog/00001.png: the file does not exist. 1 of 2 masks are missing. "),
        (_missing_sequence, "pred/dog/00001.png: the file does not exist. 2 of 2 masks are missing. "),
        (_wrong_id, "pred/dog/00001.png: the mask contains the id 3"),
        (_wrong_size, "pred/dog/00001.png: the mask has 56x41 pixels, but its frame has 56x40"),
        (_wrong_format, "pred/dog/00001.png: the mask is in JPEG format"),
        (_truncated, "pred/dog/00001.png: "),
        (_no_annotation, "dog: frame 00001 is not annotated. 3 of 4 frames have no annotation."),
        (_too_short, "dog: the video has 2 frames"),
    ],
)
def test_errors_name_the_file(world, harm, said):
    folder, sequences, _ = world
    """The other sequence, cat, is scored."""
    harm(folder, sequences)
    planned, wrong = Task(make_protocol(davis2017_val.get_config())).plan(map(open_sequence, sequences))
    scores, failures = score_folder(folder, planned)
    (message,) = (wrong | failures).values()
    assert said in message and "\n" not in message
    assert [s.name for s in scores] == ["cat"]


def test_written_figures_are_whole_and_full(world, tmp_path):
    folder, sequences, _ = world
    run = tmp_path / "run"
    scores = scored(folder, sequences)
    write_scores(run, scores, {"masks": "pred"})
    assert sorted(path.name for path in run.iterdir()) == ["per_frame.csv", "per_sequence.csv", "summary.json"]

    summary = json.loads((run / "summary.json").read_text())
    objects = [object_j for s in scores for object_j in s.j]
    assert summary["about"] == {"masks": "pred"} and summary["objects"] == 4
    assert summary["J"]["mean"] == np.mean([values.mean() for values in objects])
    assert summary["J&F"] == (summary["J"]["mean"] + summary["F"]["mean"]) / 2
    dog = summary["per_sequence"]["dog"]
    assert dog["frames"] == 2 and dog["per_object"]["2"]["J"]["mean"] == scores[1].j[1].mean()
    assert set(dog["F"]) == {"mean", "recall", "decay"}

    with open(run / "per_sequence.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["sequence"] for row in rows] == ["cat", "dog"] and rows[0]["objects"] == "2"
    for row in rows:
        expected = summary["per_sequence"][row["sequence"]]
        assert float(row["J&F"]) == expected["J&F"] and float(row["F decay"]) == expected["F"]["decay"]

    with open(run / "per_frame.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 + 2 * 2
    last = rows[-1]
    assert (last["sequence"], last["object"], last["frame"]) == ("dog", "2", "00002")
    assert (float(last["J"]), float(last["F"])) == (scores[1].j[1, 1], scores[1].f[1, 1])


def test_the_table_has_every_sequence_and_the_mean(world):
    folder, sequences, _ = world
    scores = scored(folder, sequences)
    lines = score_table(scores).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["cat", "dog"]
    assert lines[-1].startswith("mean over objects") and lines[-1].split()[3] == "4"
    assert lines[1].split()[4] == f"{scores[0].j.mean():.3f}"
    assert len({len(line) for line in lines}) == 1
    assert "owl                not scored" in score_table(scores, {"owl": "no annotation"}).splitlines()


def test_a_folder_that_cannot_be_written(world, tmp_path):
    folder, sequences, _ = world
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_scores(tmp_path / "file" / "run", scored(folder, sequences), {})
