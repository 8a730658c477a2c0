"""Implements the augmentations of `data/clips` with Pillow and Python, one sample at a time, as in typical PyTorch code.

`input_pipeline.py` uses this implementation as its reference. The implementation reads the same files as `data/clips`, and
draws different random numbers from the same ranges. Typical PyTorch implementations differ from each other. Where they differ,
this module uses the fastest variant. Colours are changed after the crop, the hue is changed only if the config requires it, and
pasted objects are cut out before they are rotated.
"""

import io
import math
import random

import numpy as np
from ml_collections import ConfigDict
from PIL import Image, ImageEnhance

from data.index import Index
from data.source import Source

BILINEAR, NEAREST = Image.Resampling.BILINEAR, Image.Resampling.NEAREST


class PilClips:
    """An endless source of random clips. Each call of `clip` returns one clip."""

    def __init__(self, config: ConfigDict, sources: list[tuple[Source, bool]], seed: int = 0):
        """`sources` are data sets, each with a flag that is true for still images."""
        self.config, self.sources, self.random = config, sources, random.Random(seed)
        self.annotated = [np.flatnonzero(source.index.annotated) for source, _ in sources]
        self.weights = [
            len(rows) if still else len(s.index.videos) for (s, still), rows in zip(sources, self.annotated, strict=True)
        ]

    def clip(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns a random clip: frames, uint8 [3,H,W,3], and masks, uint8 [3,H,W].

        Clips are sampled until the first mask of a clip contains an object of at least `config.min_area` pixels.
        """
        while True:
            frames, masks = self._attempt()
            ids, areas = np.unique(masks[0], return_counts=True)
            kept = [i for i, area in zip(ids, areas, strict=True) if i and area >= self.config.min_area]
            if kept:
                kept = self.random.sample(kept, min(len(kept), self.config.max_objects))
                labels = np.zeros(256, np.uint8)
                labels[kept] = range(1, len(kept) + 1)
                return frames, labels[masks]

    def _attempt(self) -> tuple[np.ndarray, np.ndarray]:
        config, rng = self.config, self.random
        which = rng.choices(range(len(self.sources)), self.weights)[0]
        source, still = self.sources[which]
        if still:
            pairs = [self._open(source, rng.choice(self.annotated[which]))] * 3
        else:
            pairs = [self._open(source, record) for record in self._records(source.index)]
        short = min(pairs[0][0].size)
        scale = max(rng.uniform(config.resize, max(config.resize, short)) / short, config.size[0] / pairs[0][0].height)
        size = [max(round(length * scale), config.size[0]) for length in pairs[0][0].size]
        whole = self._jitter(config.colour.clip)
        grey, flip = rng.random() < config.grey, rng.random() < config.flip
        pairs = [(image.resize(size, BILINEAR), mask.resize(size, NEAREST)) for image, mask in pairs]
        corner = None
        frames, masks = [], []
        for image, mask in pairs:
            matrix = self._affine(config.affine.frame, size[0] / 2, size[1] / 2)
            image = image.transform(image.size, Image.Transform.AFFINE, matrix, BILINEAR, fillcolor=tuple(config.fill))
            mask = mask.transform(mask.size, Image.Transform.AFFINE, matrix, NEAREST)
            if corner is None or still:
                corner = self._corner(np.asarray(mask))
            box = (*corner, corner[0] + config.size[1], corner[1] + config.size[0])
            image, mask = image.crop(box), mask.crop(box)
            own = self._jitter(config.colour.frame)
            for enhance, first, second in zip(_ENHANCERS, whole[:3], own[:3], strict=True):
                image = enhance(image).enhance(first)
                image = enhance(image).enhance(second)
            if whole[3] + own[3]:
                image = _turn_hue(image, whole[3] + own[3])
            if grey:
                image = image.convert("L").convert("RGB")
            if flip:
                image, mask = (part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for part in (image, mask))
            frames.append(image)
            masks.append(mask)
        if rng.random() < config.copy_paste.probability:
            for donor in range(rng.randint(*config.copy_paste.objects)):
                self._paste(frames, masks, 255 - donor)
        return np.stack([np.asarray(frame) for frame in frames]), np.stack([np.asarray(mask) for mask in masks])

    def _open(self, source: Source, record: int) -> tuple[Image.Image, Image.Image]:
        (jpeg,), (png,) = source.fetch(np.array([record]))
        table = source.index.table(source.index.video_of(int(record)))
        mask = Image.open(io.BytesIO(png))
        return Image.open(io.BytesIO(jpeg)).convert("RGB"), Image.fromarray(table[np.asarray(mask)])

    def _records(self, index: Index) -> list[int]:
        video = self.random.randrange(len(index.videos))
        first, last = index.starts[video : video + 2]
        step = index.numbers[first + 1] - index.numbers[first]
        most = min(self.config.max_skip[-1][1] // step, (last - first - 1) // 2 - 1)
        gaps = [1 + self.random.randint(0, most) for _ in range(2)]
        start = self.random.randrange(first, last - sum(gaps))
        return [start, start + gaps[0], start + sum(gaps)]

    def _affine(self, ranges: ConfigDict, x: float, y: float) -> tuple[float, ...]:
        """Returns Pillow's six coefficients of a random affine map from output to input, with the fixed point (x, y)."""
        angle = math.radians(self.random.uniform(-ranges.rotation, ranges.rotation))
        slant = math.tan(math.radians(self.random.uniform(-ranges.shear, ranges.shear)))
        zoom = np.diag([self.random.uniform(*ranges.zoom), self.random.uniform(*ranges.zoom)])
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        back = np.linalg.inv(turn @ [[1, slant], [0, 1]] @ zoom)
        offset = np.array([x, y]) - back @ [x, y]
        return (*back[0], offset[0], *back[1], offset[1])

    def _corner(self, mask: np.ndarray) -> tuple[int, int]:
        """Returns the left and top coordinates of a random crop that contains a random pixel of an object."""
        rows, columns = np.nonzero(mask)
        place = self.random.randrange(len(rows)) if len(rows) else None
        corner = []
        for axis, length in ((1, self.config.size[1]), (0, self.config.size[0])):
            free = mask.shape[axis] - length
            at = (rows, columns)[axis][place] if place is not None else free // 2
            corner.append(self.random.randint(max(0, min(at - length + 1, free)), max(0, min(at, free))))
        return tuple(corner)

    def _jitter(self, ranges: ConfigDict) -> list[float]:
        names = ("brightness", "contrast", "saturation", "hue")
        *changes, turn = (self.random.uniform(-ranges[name], ranges[name]) for name in names)
        return [*(1 + change for change in changes), turn]

    def _paste(self, frames: list[Image.Image], masks: list[Image.Image], key: int) -> None:
        paste, rng = self.config.copy_paste, self.random
        which = rng.choices(range(len(self.sources)), self.weights)[0]
        image, mask = self._open(self.sources[which][0], rng.choice(self.annotated[which]))
        ids = np.unique(np.asarray(mask))
        if ids[-1] == 0:
            return
        mask = mask.point([255 * (value == rng.choice(ids[ids > 0].tolist())) for value in range(256)])
        box = mask.getbbox()
        if box is None:
            return
        image, mask = image.crop(box), mask.crop(box)
        scale = min(rng.uniform(*paste.size) * min(self.config.size) / max(image.size), paste.zoom_limit)
        size = [max(round(length * scale), 1) for length in image.size]
        edge = max(size) // 4
        canvas = (size[0] + 2 * edge, size[1] + 2 * edge)
        large, large_mask = Image.new("RGB", canvas), Image.new("L", canvas)
        large.paste(image.resize(size, BILINEAR), (edge, edge))
        large_mask.paste(mask.resize(size, NEAREST), (edge, edge))
        place = np.array([rng.random() * self.config.size[1], rng.random() * self.config.size[0]])
        drift = np.array([rng.uniform(-paste.drift, paste.drift) * length for length in self.config.size[::-1]])
        for step, (frame, ids) in enumerate(zip(frames, masks, strict=True)):
            matrix = self._affine(self.config.affine.frame, canvas[0] / 2, canvas[1] / 2)
            turned = large.transform(canvas, Image.Transform.AFFINE, matrix, BILINEAR)
            turned_mask = large_mask.transform(canvas, Image.Transform.AFFINE, matrix, NEAREST)
            corner = tuple((place + step * drift - np.array(canvas) / 2).round().astype(int).tolist())
            frame.paste(turned, corner, turned_mask)
            ids.paste(key, (*corner, corner[0] + canvas[0], corner[1] + canvas[1]), turned_mask)


_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def _turn_hue(image: Image.Image, turns: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    hue = Image.fromarray(np.asarray(hue) + np.uint8(round(turns * 255) % 256))
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")
