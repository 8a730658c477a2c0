"""Tests that masks stay aligned with their images, and that transforms follow the config."""

import numpy as np
import pytest

from configs.train import data
from data.clips import make_batches, pipeline
from hmmn_jax.io.images import fit_mask
from tests.data import made

SIZE = (160, 176)
PLAIN = {"rotation": 0.0, "shear": 0.0, "zoom": (1.0, 1.0)}


def config_with(still=False, **changes):
    config = data.clips()
    config.sets.made = data.source("made", still=still)
    config.size, config.resize, config.min_area, config.workers, config.flip = SIZE, 160, 50, 2, 0.0
    config.max_skip = ((0, 2),)
    with config.unlocked():
        for path, value in changes.items():
            *parents, last = path.split("__")
            place = config
            for parent in parents:
                place = place[parent]
            place[last] = value
    return config


@pytest.fixture(autouse=True)
def source(monkeypatch):
    there = made.MadeSource(videos=4, frames=8, size=(192, 256))
    monkeypatch.setattr(pipeline, "open_source", lambda name, data_dir, split, stage=None: there)
    return there


def clips_of(config, count=10):
    return next(make_batches(config, batch=count, first_step=0))


def overlap(batch, fill):
    """Returns the minimum IoU of a mask and the region with its object's colour, over all clips, frames and objects."""
    worst = 1.0
    table = made.colour_of(np.arange(5)).astype(int)
    for frames, masks, valid in zip(batch["frames"], batch["masks"], batch["valid"], strict=True):
        colours = [np.median(frames[masks == i], axis=0) for i in range(1, valid.sum() + 1)]
        for frame, mask in zip(frames.astype(int), masks, strict=True):
            kinds = np.stack([table[0], fill, *table[1:3]])
            nearest = np.abs(frame[..., None, :] - kinds).sum(-1).argmin(-1)
            for i, colour in enumerate(colours, start=1):
                own = np.abs(kinds - colour).sum(-1).argmin()
                same = np.isin(mask, [j for j, c in enumerate(colours, 1) if np.abs(kinds - c).sum(-1).argmin() == own])
                if (mask == i).sum() > 400:
                    worst = min(worst, (same & (nearest == own)).sum() / (same | (nearest == own)).sum())
    return worst


TURNED = {"rotation": 25.0, "shear": 12.0, "zoom": (0.9, 1.2)}
TRANSFORMS = {
    "video": {"affine__frame": TURNED, "affine__clip": TURNED, "flip": 0.5, "reverse": 0.5},
    "enlarged": {"resize": 280, "colour__frame": {"brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.03}},
    "stills": {"still": True, "affine__frame": TURNED, "flip": 0.5},
    "pasted": {"still": True, "affine__frame": TURNED, "copy_paste__probability": 1.0, "copy_paste__size": (0.3, 0.4),
               "min_area": 1},  # otherwise, small objects would be visible but missing from the masks
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMS)
def test_masks_stay_on_their_objects(name):
    config = config_with(**TRANSFORMS[name])
    assert overlap(clips_of(config), np.array(config.fill)) >= 0.98


@pytest.mark.filterwarnings("ignore:.*resized")  # `catch_warnings` is not thread-safe, and clips are made in threads
def test_masks_a_pixel_off_their_image_are_stretched(source):
    """The resized masks equal those of `hmmn_jax.io.images.fit_mask`, up to rounding to whole pixels."""
    source.masks = [np.pad(mask, ((0, 1), (0, 0)), mode="edge")[:, :-1] for mask in source.masks]
    fetch = source.fetch

    def fitted(records):
        images = [made.colour_of(fit_mask(source.masks[record], *source.size, "")) for record in records]
        return [made.jpeg(image) for image in images], fetch(records)[1]

    source.fetch = fitted
    assert overlap(clips_of(config_with()), np.array([124, 116, 104])) >= 0.96


def test_a_large_image_is_shrunk_and_turned_upright_without_moving(source):
    """Images in all EXIF orientations are decoded at full or half size, and must stay aligned with their masks."""
    large = made.MadeSource(videos=2, frames=4, size=(401, 499), orientations=range(1, 9))
    source.__dict__.update(large.__dict__)
    assert overlap(clips_of(config_with(resize=160, affine__clip={**PLAIN, "zoom": (0.5, 0.5)}), 4), np.full(3, 120)) >= 0.98


def test_the_window_lies_in_the_image_and_holds_an_object():
    """Without rotations, the crop is inside the image, so no pixel has the fill colour."""
    batch = clips_of(config_with(), 24)
    assert batch["valid"][:, 0].all()
    fill = np.array([124, 116, 104])
    assert not (np.abs(batch["frames"].astype(int) - fill).sum(-1) < 30).any()


def test_flips_mirror_the_clip():
    straight, mirrored = (clips_of(config_with(resize=10_000, flip=flip), 4) for flip in (0.0, 1.0))
    np.testing.assert_array_equal(mirrored["masks"][:, :, :, ::-1] > 0, straight["masks"] > 0)


def test_wander_is_how_far_the_crop_of_a_still_moves():
    everywhere, here, between = (
        clips_of(config_with(still=True, wander=share), 8)["frames"].astype(int) for share in (1.0, 0.0, 0.1)
    )
    np.testing.assert_allclose(everywhere[:, 0], here[:, 0], atol=1)  # `wander` does not affect the first frame
    moved = [np.abs(frames[:, 1:] - frames[:, :1]).mean() for frames in (here, between, everywhere)]
    assert moved[0] == 0 < moved[1] < 0.5 * moved[2]


def test_pasted_objects_drift():
    config = config_with(still=True, copy_paste__probability=1.0, copy_paste__objects=(1, 1), copy_paste__drift=0.05)
    batch = clips_of(config, 16)
    moves = []
    for masks, valid in zip(batch["masks"], batch["valid"], strict=True):
        last = valid.sum()
        centres = [np.argwhere(mask == last).mean(0) for mask in masks if (mask == last).sum() > 50]
        moves.extend(np.abs(np.diff(centres, axis=0)).max(1))
    assert max(moves) < 0.05 * max(SIZE) * 2.5  # the factor 2.5 allows for objects that are partly outside the frame
    assert np.mean(moves) > 1


def test_hidden_cells_and_grey_clips():
    config = config_with(hide__probability=0.3, hide__grid=(10, 11), grey=1.0)
    frames = clips_of(config)["frames"]
    covered = (frames == np.array(config.fill)).all(-1)
    hidden = covered.reshape(-1, 10, 16, 11, 16).all(axis=(2, 4))
    assert abs(hidden.mean() - 0.3) < 0.03
    assert covered.mean() == pytest.approx(hidden.mean(), abs=1e-3)
    assert np.ptp(frames[~covered], axis=-1).max() <= 1
