"""Renders videos without reading files: textured objects move, rotate, grow and occlude each other on a moving background.

Clip i is a pure function of (seed, i). The masks are exact.
"""

import functools
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from data.index import Index, identity_map

_TEXTURE = 128  # side of a texture in pixels
_GRID = 24  # number of rows of the grid on which areas are estimated
_VISIBLE = 0.002  # minimum fraction of the picture that each object covers


@dataclass(frozen=True)
class Shape:
    """A rounded star and its path.

    Lengths are fractions of the picture's height, angles are in radians, and time is in [0, 1].
    """

    centre: tuple[float, float]
    velocity: tuple[float, float]
    swing: tuple[float, float]  # amplitude and phase of a diagonal oscillation around the path
    radius: float
    growth: float
    angle: float
    spin: float
    lobes: int
    depth: float  # depth of the lobes, as a fraction of the radius

    def pose(self, time: float | np.ndarray) -> tuple:
        """Returns the y and x of the shape's centre, its radius and its angle at `time`."""
        sway = self.swing[0] * np.sin(4 * time + self.swing[1])
        y = self.centre[0] + self.velocity[0] * (time - 0.5) + sway
        x = self.centre[1] + self.velocity[1] * (time - 0.5) + sway
        return y, x, self.radius * (1 + self.growth * (time - 0.5)), self.angle + self.spin * time

    def locate(
        self, time: float | np.ndarray, rows: np.ndarray, columns: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the coordinates v, u of points in units of the shape's radius, and whether the shape covers each point."""
        y, x, radius, angle = self.pose(time)
        dy, dx = (rows - y) / radius, (columns - x) / radius
        v, u = dy * np.cos(angle) - dx * np.sin(angle), dy * np.sin(angle) + dx * np.cos(angle)
        return v, u, np.hypot(v, u) < 1 + self.depth * np.cos(self.lobes * np.arctan2(v, u))


@dataclass(frozen=True)
class Clip:
    """The shapes and the motion of the background in a clip.

    The shapes have the object ids 1, 2, ... in order. Later shapes are in front of earlier ones.
    """

    shapes: tuple[Shape, ...]
    pan: tuple[float, float]  # motion of the background, as a fraction of the height
    number: int  # index of the random plan that `_plan` accepted


class MovingShapes:
    """A `data.source.Source` of rendered clips.

    Attributes:
        name: "moving_shapes".
        index: the `data.index.Index` of the clips. The areas of objects are estimated on a coarse grid.
    """

    name = "moving_shapes"

    def __init__(
        self, seed: int = 0, clips: int = 1000, frames: int = 12, height: int = 256, width: int = 448, max_objects: int = 3
    ):
        """Plans clips with `frames` frames of `height` x `width` pixels and 1 to `max_objects` objects."""
        self._arguments = (seed, clips, frames, height, width, max_objects)
        self._seed, self._frames, self._size, self._max_objects = seed, frames, (height, width), max_objects
        self._textures = functools.lru_cache(maxsize=8)(self._make_textures)
        plans = [self._plan(i) for i in range(clips)]
        self._clips = [clip for clip, _ in plans]
        areas = [areas for _, areas in plans]  # [frame, object]
        self.index = Index(
            videos=np.array([f"{i:06d}" for i in range(clips)]),
            starts=np.arange(clips + 1) * frames,
            names=np.tile([f"{t:05d}" for t in range(frames)], clips),
            numbers=np.tile(np.arange(frames, dtype=np.int32), clips),
            sizes=np.tile(np.array([[height, width]], np.int32), (clips * frames, 1)),
            annotated=np.ones(clips * frames, bool),
            object_record=np.concatenate(
                [i * frames + np.repeat(np.arange(frames), a.shape[1]) for i, a in enumerate(areas)]
            ).astype(np.int32),
            object_id=np.concatenate([np.tile(np.arange(1, a.shape[1] + 1), frames) for a in areas]).astype(np.uint8),
            object_area=np.concatenate([a.ravel() for a in areas]).astype(np.int32),
            binary=np.zeros(clips, bool),
            id_map=identity_map(),
            soft=np.array(False),
        )

    def fetch(self, records: np.ndarray) -> tuple[list[bytes], list[bytes]]:
        """Renders frames. Returns JPEGs and PNG masks. This method is thread-safe."""
        pairs = [self.render(*divmod(int(record), self._frames)) for record in records]
        return [_encode(frame, "JPEG", quality=92, subsampling=0) for frame, _ in pairs], [_encode(m, "PNG") for _, m in pairs]

    def render(self, clip: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns a frame, uint8 [h,w,3], and its object ids, uint8 [h,w]."""
        height, width = self._size
        plan, (background, *textures) = self._clips[clip], self._textures(clip)
        time = frame / max(self._frames - 1, 1)
        shift = [round(abs(pan) * height * (time if pan > 0 else 1 - time)) for pan in plan.pan]
        picture = background[shift[0] : shift[0] + height, shift[1] : shift[1] + width].copy()
        mask = np.zeros((height, width), np.uint8)
        for i, (shape, texture) in enumerate(zip(plan.shapes, textures, strict=True), start=1):
            y, x, radius, _ = shape.pose(time)
            reach = radius * (1 + shape.depth)
            top, left = max(int((y - reach) * height), 0), max(int((x - reach) * height), 0)
            box = np.s_[top : int((y + reach) * height) + 2, left : int((x + reach) * height) + 2]
            inner = mask[box]
            rows = (np.arange(top, top + inner.shape[0])[:, None] + 0.5) / height
            columns = (np.arange(left, left + inner.shape[1])[None] + 0.5) / height
            v, u, covered = shape.locate(time, rows, columns)
            inner[covered] = i
            shade = 1.1 - 0.3 * np.hypot(rows - y, columns - x)[covered] / radius
            scale = _TEXTURE / 3
            texels = texture[((v[covered] + 1.5) * scale).astype(int), ((u[covered] + 1.5) * scale).astype(int)]
            picture[box][covered] = np.clip(texels * shade[:, None], 0, 255)
        return picture, mask

    def __reduce__(self):
        return type(self), self._arguments

    def _plan(self, clip: int) -> tuple[Clip, np.ndarray]:
        """Generates random plans of a clip until all objects of a plan are visible in all frames.

        Returns the accepted plan and the areas of its objects in pixels, [t,o].
        """
        height, width = self._size
        rows = (np.arange(_GRID)[:, None] + 0.5) / _GRID
        columns = (np.arange(round(_GRID * width / height))[None] + 0.5) / _GRID
        times = np.linspace(0, 1, self._frames)[:, None, None]
        for attempt in range(1000):
            plan = self._draw(np.random.default_rng([self._seed, clip, attempt]), attempt)
            mask = np.zeros((self._frames, rows.size, columns.size), np.uint8)
            for i, shape in enumerate(plan.shapes, start=1):
                mask[shape.locate(times, rows, columns)[2]] = i
            areas = np.stack([(mask == i).mean(axis=(1, 2)) for i in range(1, len(plan.shapes) + 1)], axis=1)
            if areas.min() > _VISIBLE:
                return plan, areas * height * width
        raise ValueError(
            f"found no clip in which all objects are visible in all frames, for the arguments {self._arguments}. "
            "Use fewer objects."
        )

    def _draw(self, rng: np.random.Generator, attempt: int) -> Clip:
        aspect = self._size[1] / self._size[0]
        shapes = []
        for _ in range(rng.integers(1, self._max_objects + 1)):
            shape = Shape(
                centre=(rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8) * aspect),
                velocity=(rng.uniform(-0.5, 0.5), rng.uniform(-0.6, 0.6) * aspect),
                swing=(rng.uniform(0, 0.06), rng.uniform(0, 6.3)),
                radius=rng.uniform(0.1, 0.28),
                growth=rng.uniform(-0.6, 0.6),
                angle=rng.uniform(0, 6.3),
                spin=rng.uniform(-1.5, 1.5),
                lobes=int(rng.integers(2, 7)),
                depth=rng.uniform(0, 0.35),
            )
            shapes.append(shape)
        return Clip(tuple(shapes), (rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2)), attempt)

    def _make_textures(self, clip: int) -> list[np.ndarray]:
        """Returns the texture of the background, then the texture of each shape, as uint8 [h,w,3].

        The texture of the background is larger than the picture by the distance that the background moves.
        """
        height, width = self._size
        plan = self._clips[clip]
        rng = np.random.default_rng([self._seed, clip, plan.number, 1])
        margin = [round(abs(pan) * height) for pan in plan.pan]
        textures = [_noise(rng, height + margin[0], width + margin[1], 5)]
        return textures + [_noise(rng, _TEXTURE, _TEXTURE, 6) for _ in plan.shapes]


def _noise(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """Returns a smooth random texture, uint8 [height,width,3]: a random colour plus four octaves of interpolated noise."""
    base, contrast = rng.uniform(50, 205, 3), rng.uniform(30, 90)
    total = np.zeros((height, width, 3), np.float32)
    for octave in range(4):
        small = (cells * 2**octave, max(cells * 2**octave * width // height, 1))
        grid = Image.fromarray(rng.integers(0, 256, (*small, 3), dtype=np.uint8))
        total += (np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC), np.float32) - 127.5) / 2**octave
    return np.clip(base + total * (contrast / 127.5), 0, 255).astype(np.uint8)


def _encode(pixels: np.ndarray, kind: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()
