"""Tests that each kind of export can be downloaded in the browser and read by other programs."""

import io
import json
import zipfile

import av
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # raised by pycocotools

COUNT = 4


def download(tab, kind):
    """Creates an export in the dialog and downloads it. The newest export is the first entry of the list."""
    before = len(tab.model("exports"))
    tab.page.check(f"#exporting input[value={kind}]")
    tab.page.click("#export-form button")
    tab.wait("before => app.model.exports.length === before + 1 && app.model.exports[0].state === 'done'", before)
    with tab.page.expect_download() as found:
        tab.page.click("#exports li:first-child a")
    assert found.value.suggested_filename == tab.model("exports")[0]["name"]
    return found.value.path()


def pictures(path):
    """Returns a dict from names without suffix to the PNG images of a ZIP archive, sorted by name."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        return {name.removesuffix(".png"): Image.open(io.BytesIO(archive.read(name))) for name in names}


def decode(segmentation):
    """Decodes a run-length encoded mask with pycocotools."""
    return coco_mask.decode({**segmentation, "counts": segmentation["counts"].encode()}).astype(bool)


def test_exports(open_film):
    tab = open_film(shape={"count": COUNT})
    tab.stroke((10, 10), (30, 10))
    tab.page.click("#add")
    tab.wait("app.model.object === 2")
    tab.stroke((10, 35), (40, 35))
    tab.run("r")
    masks = [tab.mask(t) for t in range(COUNT)]
    assert {1, 2} <= set(np.unique(masks))
    tab.press("s")
    tab.page.wait_for_selector("#exporting[open]")

    found = pictures(download(tab, "davis"))
    assert len(found) == COUNT
    for picture, mask in zip(found.values(), masks, strict=True):
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.array(picture), mask)

    found = pictures(download(tab, "binary"))
    for k in (1, 2):
        for t, mask in enumerate(masks):
            np.testing.assert_array_equal(np.array(found[f"film/{k:03d}/{t:05d}"]), np.where(mask == k, 255, 0))

    found = pictures(download(tab, "rgba"))
    assert "1 of 4 frames have hard edges" in tab.page.text_content("#exports li:first-child")
    for k in (1, 2):
        for t, mask in enumerate(masks):
            picture = found[f"film/{k:03d}/{t:05d}"]
            alpha = np.array(picture)[..., 3]
            assert picture.mode == "RGBA"
            if t == 0:  # for an annotated frame, alpha is the mask
                np.testing.assert_array_equal(alpha, np.where(mask == k, 255, 0))
            else:  # for a computed frame, alpha is the probability
                assert len(np.unique(alpha)) > 2 and alpha[mask == k].min() > alpha[mask != k].mean()

    content = json.loads(download(tab, "coco").read_text())
    shown = {image["id"]: int(image["file_name"].split("/")[-1].split(".")[0]) for image in content["images"]}
    assert sorted(shown.values()) == list(range(COUNT))
    union = np.zeros_like(masks)
    for annotation in content["annotations"]:
        mask = decode(annotation["segmentation"])
        union[shown[annotation["image_id"]]][mask] = annotation["category_id"]
        assert annotation["area"] == mask.sum() == coco_mask.area(annotation["segmentation"])
        np.testing.assert_array_equal(annotation["bbox"], coco_mask.toBbox(annotation["segmentation"]))
    np.testing.assert_array_equal(union, masks)

    content = json.loads(download(tab, "ytvis").read_text())
    union = np.zeros_like(masks)
    for annotation in content["annotations"]:
        for t, segmentation in enumerate(annotation["segmentations"]):
            if segmentation is not None:
                union[t][decode(segmentation)] = annotation["category_id"]
    np.testing.assert_array_equal(union, masks)

    with av.open(str(download(tab, "mp4"))) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    assert len(frames) == COUNT
    inside = masks[0] == 1
    assert frames[0][:48, :64][inside][:, 0].mean() > frames[0][:48, :64][~inside & (masks[0] == 0)][:, 0].mean() + 20

    with Image.open(download(tab, "gif")) as picture:
        assert picture.n_frames == COUNT and picture.size == (64, 48)
