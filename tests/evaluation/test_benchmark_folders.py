"""Tests benchmarks other than DAVIS: data folders, metrics compared with the official evaluators, and errors in results."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.benchmarks import benchmark_settings
from hmmn_jax.evaluation.protocols import make_protocol
from hmmn_jax.evaluation.score_files import score_folder
from hmmn_jax.io.images import write_mask
from hmmn_jax.metrics import lvos, mose2, sav, vost
from hmmn_jax.metrics.davis import summarize
from tests.evaluation import trees

GOLDEN = Path(__file__).parent.parent / "golden"


def load(name):
    with np.load(GOLDEN / f"{name}.npz") as archive:
        return dict(archive)


def read(benchmark, root):
    """Returns the task, the plans of the videos that can be scored, and the reasons why the other videos cannot be scored."""
    task = make_protocol(benchmark_settings(benchmark)).read(root)
    assert not task.failures
    plans, reasons = task.plan(task.clips)
    return task, plans, reasons


def score(benchmark, root, pred):
    """Returns two dicts by video name: the scores and the errors."""
    _, plans, reasons = read(benchmark, root)
    scores, failures = score_folder(pred, plans)
    return {s.name: s for s in scores}, reasons | failures


def same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9, equal_nan=True)


def test_mose2(tmp_path):
    golden, root, pred = load("mose2"), tmp_path / "in", tmp_path / "pred"
    videos = golden["videos"].tolist()
    meta = {}
    for v in videos:
        truth = dict(zip(golden[f"{v}_names"].tolist(), golden[f"{v}_gt"], strict=True))
        trees.save_video(root, v, truth)
        trees.save_ids(pred / v, dict(zip(golden[f"{v}_pred_names"].tolist(), golden[f"{v}_pred"], strict=True)))
        meta[v] = {"length": len(truth), "height": None, "width": None, "objects": list(map(str, golden[f"{v}_ids"].tolist()))}
    trees.save_json(root / "meta.json", {"videos": meta})
    scores, wrong = score("mose2_val", root, pred)
    for v, found in scores.items():
        same(mose2.object_figures(found), golden[f"{v}_scores"])
    calm = golden["calm"].tolist()
    same([*mose2.total([scores[v] for v in calm]).values()], golden["total_calm"])
    # The server would score the results of these three videos without an error message.
    assert set(videos) - scores.keys() == wrong.keys() == {"shifted", "absent", "two"}
    lost = set(golden["shifted_names"]) - set(golden["shifted_pred_names"])
    assert lost == {"00005"} and "The server would use 00015.png as 00010.png" in wrong["shifted"]
    assert "absent/00001.png: the file does not exist" in wrong["absent"] and "two: the video has 2 frames" in wrong["two"]


def test_mose1(tmp_path):
    golden = load("mose1")
    for v in golden["videos"].tolist():
        trees.save_video(tmp_path / "in", v, trees.named(golden[f"{v}_gt"]))
        trees.save_ids(tmp_path / "pred" / v, trees.named(golden[f"{v}_pred"]))
    scores, wrong = score("mose1_val", tmp_path / "in", tmp_path / "pred")
    assert not wrong
    same([*summarize([scores[v] for v in golden["videos"].tolist()]).figures.values()], golden["total"])


def test_lvos(tmp_path):
    golden, root = load("lvos"), tmp_path / "in"
    videos, objects = golden["videos"].tolist(), {}
    for v in videos:
        for kind, folder in (("gt", root), ("pred", tmp_path / "pred")):
            masks = dict(zip(golden[f"{v}_names"].tolist(), golden[f"{v}_{kind}"], strict=True))
            trees.save_video(root, v, masks) if kind == "gt" else trees.save_ids(folder / v, masks)
        objects[v] = {i: rest for i, *rest in golden[f"{v}_objects"].tolist()}
    trees.save_json(root / "valid_meta.json", trees.lvos_meta(objects))
    (root / "unseen_videos.txt").write_text("".join(f"{v}\n" for v in videos if golden[f"{v}_unseen"]))
    scores, wrong = score("lvos_val", root, tmp_path / "pred")
    assert not wrong
    for v in videos:
        same(lvos.object_figures(scores[v]), golden[f"{v}_JFV"])
    same([*lvos.total([scores[v] for v in videos]).values()], golden["total"])


def test_vost(tmp_path):
    golden, root = load("vost"), tmp_path / "in"
    videos = golden["videos"].tolist()
    for v in videos:
        masks = trees.named(golden[f"{v}_gt"], 12, 12)
        trees.save_video(root, v, masks, images="JPEGImages_10fps")
        trees.save_ids(tmp_path / "pred" / v, trees.named(golden[f"{v}_pred"], 12, 12))
    (root / "ImageSets").mkdir()
    (root / "ImageSets/val.txt").write_text("\n".join(videos))
    scores, wrong = score("vost_val", root, tmp_path / "pred")
    assert not wrong
    same([*vost.total([scores[v] for v in videos]).values()], golden["total"])


def test_sav(tmp_path):
    golden, root, pred = load("sav"), tmp_path / "in", tmp_path / "pred"
    videos = golden["videos"].tolist()
    for v in videos:
        objects = {o: f"{v}_{o}" for o in golden[f"{v}_objects"].tolist()}
        names = {o: golden[f"{key}_names"].tolist() for o, key in objects.items()}
        frames = sorted(set().union(*names.values()) | {"00000"})
        trees.save_frames(root / "JPEGImages_24fps" / v, frames, golden[f"{next(iter(objects.values()))}_gt"].shape[1:])
        for kind, folder in (("gt", root / "Annotations_6fps"), ("pred", pred)):
            if kind == "gt" or v not in golden["missing"]:
                masks = {o: dict(zip(names[o], golden[f"{key}_{kind}"], strict=True)) for o, key in objects.items()}
                trees.save_objects(folder / v, masks)
    (root / "sav_val.txt").write_text("\n".join(videos))
    scores, wrong = score("sav_val", root, pred)
    assert wrong.keys() == {"missing"} and "missing/000/00004.png: the file does not exist" in wrong["missing"]
    for v, found in scores.items():
        assert found.ids == tuple(int(o) + 1 for o in golden[f"{v}_objects"].tolist())
        same(sav.object_figures(found), [golden[f"{v}_{o}_mean"] for o in golden[f"{v}_objects"].tolist()])
    same([*sav.total(scores.values()).values()], golden["total"])


def test_long_video_is_scored_between_its_first_and_last_annotation(tmp_path):
    trees.long_video(tmp_path / "in")
    shutil.copytree(tmp_path / "in/Annotations", tmp_path / "pred")
    for name in ("00000", "00011"):
        (tmp_path / f"pred/rat/{name}.png").unlink()
    write_mask(tmp_path / "pred/rat/00006.png", np.full((60, 80), 255, np.uint8))  # 255 is background
    scores, wrong = score("long_video", tmp_path / "in", tmp_path / "pred")
    assert not wrong and scores["rat"].frame_names == ("00003", "00006", "00009")
    assert scores["rat"].j.tolist() == [[1, 0, 1]] * 2


def first_of(task):
    return {clip.name: clip for clip in task.clips}


def test_what_is_given(tmp_path):
    """In LVOS and SA-V, the segmenter receives the first mask of each object.

    In MOSE and VOST, the segmenter receives only the mask of the first frame.
    """
    for name, write in trees.LAYOUTS.items():
        write(tmp_path / name)
    walk = first_of(read("lvos_val", tmp_path / "lvos_val")[0])["walk"]
    given = walk.read_given(*walk.size)
    assert {t: np.unique(ids).tolist() for t, ids in given.items()} == {0: [0, 3, 4], 2: [0, 9]}
    assert len(walk.sources) == 8 + 2  # the result depends on 8 frames and 2 given masks
    crowd = first_of(read("mose2_val", tmp_path / "mose2_val")[0])["crowd"]
    assert {t: np.unique(ids).tolist() for t, ids in crowd.read_given(*crowd.size).items()} == {0: [0, 2, 7, 255]}
    crowd = first_of(read("mose1_val", tmp_path / "mose1_val")[0])["crowd"]
    assert {t: np.unique(ids).tolist() for t, ids in crowd.read_given(*crowd.size).items()} == {0: [0, 2, 7]}
    cut = first_of(read("vost_val", tmp_path / "vost_val")[0])["cut"]
    assert len(cut) == 13 and sorted(cut.requested) == [f"{n:05d}" for n in range(12, 85, 12)]
    assert {t: np.unique(ids).tolist() for t, ids in cut.read_given(*cut.size).items()} == {0: [0, 1, 3]}
    rat = first_of(read("long_video", tmp_path / "long_video")[0])["rat"]
    assert len(rat) == 12 and len(rat.requested) == 5
    task, plans, _ = read("sav_val", tmp_path / "sav_val")
    (dance,) = task.clips
    given = dance.read_given(*dance.size)
    assert {t: {i: int(mask.sum()) for i, mask in masks.items()} for t, masks in given.items()} == {
        0: {1: 600, 3: 200},
        4: {2: 800},
    }
    assert plans[0].scored == {1: {4, 8, 12}, 2: {8, 12}, 3: {4, 8, 12}}
    assert any("dance/001, frame 00004" in line for line in task.notes.lines())


def harm_shift(root, pred):
    (pred / "crowd/00000.png").unlink()


def harm_extra(root, pred):
    shutil.copy(pred / "crowd/00000.png", pred / "crowd/0.png")


def harm_size(root, pred):
    write_mask(pred / "crowd/00002.png", np.zeros((60, 81), np.uint8))


def harm_missing(root, pred):
    shutil.rmtree(pred / "crowd")


def harm_name(root, pred):
    (pred / "crowd/00005.png").rename(pred / "crowd/last.png")


def harm_bits(root, pred):
    Image.new("1", (80, 60)).save(pred / "crowd/00002.png")


def harm_colours(root, pred):
    Image.new("RGB", (80, 60)).save(pred / "crowd/00002.png")


def harm_length(root, pred):
    entries = {"crowd": {"length": 5, "objects": {"2": {}, "7": {}}}, "street": {"length": 5, "objects": [1]}}
    trees.save_json(root / "meta.json", {"videos": entries})


def harm_truth(root, pred):
    (root / "Annotations/crowd/00003.png").unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (harm_shift, "pred/crowd: the server numbers the masks by their order. The server would use 00002.png as 00001.png"),
        (harm_extra, "pred/crowd: the server numbers the masks by their order. The server would use 00000.png as 00001.png"),
        (harm_size, "crowd/00002.png: the mask has 81x60 pixels, but its frame has 80x60"),
        (harm_missing, "crowd/00001.png: the file does not exist. 4 of 4 masks are missing."),
        (harm_name, "crowd: a mask is named last.png. Mask names must be numbers"),
        (harm_bits, "crowd/00002.png: the PNG has the mode 1, whose values the server would change"),
        (harm_colours, "crowd/00002.png: the PNG has the mode RGB, whose values the server would change"),
        (harm_length, "crowd: meta.json lists 5 frames, but the folders contain 6 frames"),
        (harm_truth, "crowd: frame 00003 is not annotated. 1 of 6 frames have no annotation."),
    ],
)
def test_wrong_results_of_mose2(tmp_path, harm, said):
    root, pred = tmp_path / "in", tmp_path / "pred"
    trees.mose(root)
    shutil.copytree(root / "Annotations", pred)
    harm(root, pred)
    scores, wrong = score("mose2_val", root, pred)
    assert [*scores] == ["street"] and said in wrong["crowd"]


def test_wrong_results_of_others(tmp_path):
    trees.mose(tmp_path / "mose")
    shutil.copytree(tmp_path / "mose/Annotations", tmp_path / "pred")
    _, wrong = score("mose1_val", tmp_path / "mose", tmp_path / "pred")  # 255 is an invalid id in results of MOSE v1
    assert "crowd/00001.png: the mask contains the id 255, but the first annotation has only ids up to 7" in wrong["crowd"]
    trees.sav(tmp_path / "sav")
    shutil.copytree(tmp_path / "sav/Annotations_6fps", tmp_path / "objects")
    assert not score("sav_val", tmp_path / "sav", tmp_path / "objects")[1]
    three = np.zeros((40, 60), np.uint8)
    three[:9], three[9:20] = 1, 2
    write_mask(tmp_path / "objects/dance/001/00008.png", three)
    _, wrong = score("sav_val", tmp_path / "sav", tmp_path / "objects")
    assert "dance/001/00008.png: the mask has 3 different values, expected only 0 and 255" in wrong["dance"]
    shutil.rmtree(tmp_path / "objects/dance/002")
    _, wrong = score("sav_val", tmp_path / "sav", tmp_path / "objects")
    assert "dance/002/00004.png: the file does not exist. 3 of 8 masks are missing." in wrong["dance"]
    write_mask(tmp_path / "objects/dance/002/00004.png", three)
    for name in ("00008", "00012"):
        write_mask(tmp_path / f"sav/Annotations_6fps/dance/002/{name}.png", np.zeros((40, 60), np.uint8))
        write_mask(tmp_path / f"objects/dance/002/{name}.png", np.zeros((40, 60), np.uint8))
    write_mask(tmp_path / "objects/dance/001/00008.png", np.zeros((40, 60), np.uint8))
    write_mask(tmp_path / "objects/dance/002/00004.png", np.zeros((40, 60), np.uint8))
    _, wrong = score("sav_val", tmp_path / "sav", tmp_path / "objects")
    assert "dance: no scored annotation shows the object 3" in wrong["dance"]


def test_data_that_cannot_be_scored(tmp_path):
    trees.lvos(tmp_path / "lvos")
    root = tmp_path / "lvos"
    trees.save_json(root / "valid_meta.json", trees.lvos_meta({"walk": {3: (1, 37, 5)}, "zoo": {255: (1, 7, 2)}}))
    (root / "JPEGImages/tent").mkdir()
    task, _, reasons = read("lvos_val", root)
    assert any("tent" in line and "not in the list" in line for line in task.notes.lines())
    assert "walk, object 3: frame_nums is 5 for the 8 frames" in reasons["walk"]
    assert "zoo, object 255: no frame is between its first and last" in reasons["zoo"]
    trees.save_json(root / "valid_meta.json", trees.lvos_meta({"walk": {3: (1, 60, 20)}, "zoo": {255: (2, 22, 5)}}))
    reasons = read("lvos_val", root)[2]
    assert "walk, object 3: frame 00000041 does not exist or is not annotated" in reasons["walk"]
    assert "zoo, object 255: frame 00000007 does not exist or is not annotated" in reasons["zoo"]
    trees.save_json(root / "valid_meta.json", {"videos": {"walk": {"objects": {"3": {}}}}})
    assert "walk, object 3: expected frame_range" in read("lvos_val", root)[2]["walk"]
    (root / "unseen_videos.txt").unlink()
    assert "walk: unseen_videos.txt is missing" in read("lvos_val", root)[2]["walk"]
    trees.save_json(root / "valid_meta.json", {"video": {}})
    with pytest.raises(DataError, match="not an LVOS list"):
        read("lvos_val", root)
    trees.vost(tmp_path / "vost")
    (tmp_path / "vost/JPEGImages_10fps/cut/00036.jpg").unlink()
    task = make_protocol(benchmark_settings("vost_val")).read(tmp_path / "vost")
    assert "cut/00036.png: this mask has no frame in" in task.failures["cut"]
    trees.mose(tmp_path / "mose")
    trees.save_json(tmp_path / "mose/meta.json", {"videos": {"crowd": {"length": 6, "objects": [0]}}})
    with pytest.raises(DataError, match=r"not a meta\.json of MOSE"):
        read("mose2_val", tmp_path / "mose")
