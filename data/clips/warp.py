"""Warps images with bilinear interpolation and masks with nearest-neighbour interpolation, using OpenCV.

Donor objects are pasted over the frames. `plan.py` defines donors.

A clip has s sources: its t frames, then its donors. A missing donor is a source of size 0. Maps convert positions in the output
to positions in a source, as in `affine.py`. All functions use NumPy arrays. OpenCV releases the GIL.
"""

from collections.abc import Sequence

import cv2
import numpy as np

cv2.setNumThreads(0)  # the pipeline already creates clips in parallel


def warp_masks(
    masks: Sequence[np.ndarray], ids: np.ndarray, sources: np.ndarray, maps: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Warps masks and overlays donors. The last donor is on top.

    Args:
        masks: one uint8 [h,w] array for each of the s sources. The array of a frame contains the values of its mask. The array
            of a donor is 1 inside the object and 0 elsewhere.
        ids: uint8 [s,256], the object id of each value.
        sources: int32 [t,1+d], the source of each frame, followed by the sources of its donors.
        maps: float32 [t,1+d,2,3], the map of each source in `sources`.
        size: height and width of the output.

    Returns:
        Three arrays: visible ids, donors and areas. Visible ids, uint8 [t,H,W], are 0 in the background and under donors.
        Donors, uint8 [t,H,W], are 1 + i in pixels that donor i (counted from 0) covers, and 0 in all other pixels. Areas, int32
        [256+d], are the numbers of pixels of each id, then of each donor, in the first frame.
    """
    seen, donors = np.empty((len(sources), *size), np.uint8), np.zeros((len(sources), *size), np.uint8)
    named = {source: cv2.LUT(masks[source], ids[source]) for source in set(sources[:, 0].tolist())}
    for frame, (own, *pasted) in enumerate(sources.tolist()):
        seen[frame] = _warp(named[own], maps[frame, 0], size, cv2.INTER_NEAREST)
        for donor, source in enumerate(pasted):
            if (mask := masks[source]).size:
                covered = _warp(mask, maps[frame, 1 + donor], size, cv2.INTER_NEAREST).view(bool)
                seen[frame][covered], donors[frame][covered] = 0, 1 + donor
    objects, donated = (cv2.calcHist([part[0]], [0], None, [256], [0, 256]).ravel() for part in (seen, donors))
    areas = np.concatenate([[0], objects[1:], donated[1 : sources.shape[1]]])
    return seen, donors, areas.astype(np.int32)


def relabel(seen: np.ndarray, donors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Converts ids and donors, uint8 [t,H,W], to output ids.

    `labels`, uint8 [256+d], contains the output id of each input id, followed by the output id of each donor. Id 0 is not
    changed.
    """
    masks = np.stack([cv2.LUT(ids, labels[:256]) for ids in seen])
    for donor, label in enumerate(labels[256:], start=1):
        masks[donors == donor] = label
    return masks


def render(
    images: Sequence[np.ndarray],
    sources: np.ndarray,
    maps: np.ndarray,
    donors: np.ndarray,
    colours: np.ndarray,
    hidden: np.ndarray,
    fill: tuple[int, int, int],
) -> np.ndarray:
    """Renders the frames of a clip, uint8 [t,H,W,3].

    Args:
        images: uint8 [h,w,3], the RGB image of each of the s sources.
        sources: int32 [t,1+d], the indices in `images`; see `warp_masks`.
        maps: float32 [t,1+d,2,3]; see `warp_masks`.
        donors: uint8 [t,H,W], as returned by `warp_masks`.
        colours: float32 [t,3,4], the colour transform of each frame: matrix and offset.
        hidden: bool [t,H,W], whether each pixel is hidden.
        fill: the colour of pixels outside the image and of hidden pixels.
    """
    size = donors.shape[1:]
    frames = np.empty((*donors.shape, 3), np.uint8)
    for frame, (own, *pasted) in enumerate(sources.tolist()):
        _warp_colours(images[own], colours[frame], maps[frame, 0], size, fill, frames[frame])
        for donor, image in enumerate(images[source] for source in pasted):
            mine = cv2.compare(donors[frame], 1 + donor, cv2.CMP_EQ) if image.size else None
            left, top, width, height = cv2.boundingRect(mine) if image.size else (0, 0, 0, 0)
            if width:
                box = np.s_[top : top + height, left : left + width]
                there = maps[frame, 1 + donor].copy()
                there[:, 2] += there[:, :2] @ (left, top)
                part = _warp_colours(image, colours[frame], there, (height, width), fill)
                cv2.copyTo(part, mine[box], frames[frame][box])
        if hidden[frame].any():
            frames[frame][hidden[frame]] = fill
    return frames


def _warp_colours(image, colour, position_map, size, fill, out=None) -> np.ndarray:
    """Transforms the colours of an image, then warps the image. The fill colour is not transformed."""
    changed = cv2.cvtColor(
        cv2.transform(image, colour), cv2.COLOR_RGB2RGBA
    )  # warping four channels is faster than warping three
    warped = _warp(changed, position_map, size, cv2.INTER_LINEAR, (*map(int, fill), 0))
    return cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB, dst=out)


def _warp(
    source: np.ndarray, position_map: np.ndarray, size: tuple[int, int], flags: int, fill: tuple[int, ...] = (0,)
) -> np.ndarray:
    """Warps one image to a size (height, width)."""
    on_pixels = position_map.astype(np.float64)  # OpenCV uses (0, 0) for the centre of the first pixel
    on_pixels[:, 2] += on_pixels[:, :2].sum(axis=1) / 2 - 0.5
    flags |= cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(source, on_pixels, size[::-1], flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
