"""Draws the parts of the bundled clip: the ground of a pond, koi, lily pads and sunlight.

`tools.make_sample` combines the parts. A straight koi is painted once on a strip. In every frame, the strip is bent along the
path of the koi. Colours are in [0, 1]. Lengths are in pixels of the clip, which has the size `HEIGHT` x `WIDTH`. Pictures,
`[H,W]`, are `FINE` times as high and wide as the clip.
"""

import numpy as np
from PIL import Image, ImageFilter

HEIGHT, WIDTH = 240, 426
FINE = 2  # everything is drawn larger by this factor and then downsampled, for soft edges
STRIP = 640  # length of a koi on the strip, in pixels
WHITE, GOLD = np.array([[1.0, 0.97, 0.92], [1.0, 0.70, 0.13]])

rows, columns = np.mgrid[: HEIGHT * FINE, : WIDTH * FINE].astype(np.float32) / FINE  # in pixels of the clip


def mix(below: np.ndarray, above: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """Blends colours, `[...,3]`: draws `above` over `below` with the opacity `share`, `[...]`, in [0, 1]."""
    return below + (above - below) * np.asarray(share)[..., None]


def step(distance: np.ndarray, softness: float) -> np.ndarray:
    """Returns a step from 0 to 1, with a linear transition of width `softness` around `distance` = 0."""
    return np.clip(distance / softness + 0.5, 0, 1)


def blur(share: np.ndarray, radius: float) -> np.ndarray:
    """Blurs an array, `[H,W]`, with values in [0, 1]."""
    image = Image.fromarray((255 * share).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(image, np.float32) / 255


def noise(rng: np.random.Generator, height: int, width: int, cell: int) -> np.ndarray:
    """Returns smooth noise, `[height, width]`, with mean 0 and standard deviation 1.

    The noise is interpolated from random numbers on a grid with a spacing of `cell` pixels.
    """
    grid = rng.standard_normal((height // cell + 2, width // cell + 2)).astype(np.float32)
    smooth = np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))
    return (smooth - smooth.mean()) / smooth.std()


def pebbles(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draws the ground, `[height, width, 3]`. Stones with a lit side are drawn around random centres."""
    y, x = np.mgrid[:height, :width].astype(np.float32) / FINE
    x, y = x + 0.8 * noise(rng, height, width, 24), y + 0.8 * noise(rng, height, width, 24)
    first, second, which = np.full(x.shape, 99.0), np.full(x.shape, 99.0), np.zeros(x.shape, int)
    count, reach = 420, 50
    sizes = rng.lognormal(0, 0.35, count)
    for i, (cx, cy) in enumerate(rng.uniform(0, (width, height), (count, 2)).astype(int)):
        box = np.s_[max(cy - reach * FINE, 0) : cy + reach * FINE, max(cx - reach * FINE, 0) : cx + reach * FINE]
        distance = np.hypot(x[box] - cx / FINE, (y[box] - cy / FINE) * 1.15) / sizes[i]
        nearer = distance < first[box]
        second[box] = np.where(nearer, first[box], np.minimum(second[box], distance))
        first[box], which[box] = np.where(nearer, distance, first[box]), np.where(nearer, i, which[box])
    relief = blur(np.sqrt(np.clip((second - first) / 9, 0, 1)), 1.6)
    slope = np.sum(np.gradient(relief), axis=0)
    tints = np.array([0.66, 0.66, 0.54]) * rng.uniform(0.55, 1.2, (count, 1)) * rng.uniform(0.88, 1.12, (count, 3))
    stones = tints[which] * (1 + 0.06 * noise(rng, height, width, 5) + 0.15 * noise(rng, height, width, 90))[..., None]
    return stones * (0.25 + 0.75 * relief - 2.5 * slope)[..., None]


def paint_koi(rng: np.random.Generator, colour: np.ndarray, patches: float) -> np.ndarray:
    """Draws a straight koi seen from above, as RGBA on a strip.

    The strip extends from 0 (nose) to 1.25 lengths of the koi along the spine, and from -0.3 to 0.3 lengths across the spine.
    The koi is white with patches of `colour`. `patches` is added to noise with a standard deviation of 1; a larger value makes
    the patches cover more of the koi.
    """
    s = np.arange(0, 1.25, 1 / STRIP)[None].astype(np.float32)
    n = np.arange(-0.3, 0.3, 1 / STRIP)[:, None].astype(np.float32)
    shape, soft = (n.size, s.size), 0.012
    half = 0.27 * np.sqrt(s) * np.clip(1 - s, 0, 1) + 0.020 * np.clip(s * 8, 0, 1)  # half the width of the body
    body = step(half - np.abs(n), soft) * step(1 - s, soft)
    dome = np.sqrt(np.clip(1 - (n / np.maximum(half, 1e-3)) ** 2, 0, 1))
    scales = np.cos(2 * np.pi * (s + 0.7 * n) / 0.034) * np.cos(2 * np.pi * (s - 0.7 * n) / 0.034) * (s > 0.2)
    skin = mix(WHITE, colour, step(noise(rng, *shape, 96) + patches, 0.12)) * (0.56 + 0.48 * dome + 0.05 * scales)[..., None]
    ridge = np.exp(-((n / 0.006) ** 2)) * step(s - 0.32, 0.06) * step(0.70 - s, 0.06)
    shine = np.exp(-(((n + 0.35 * half) / 0.018) ** 2)) * step(s - 0.05, 0.1) * step(0.8 - s, 0.2)
    skin = mix(mix(skin, 0.6 * colour, 0.55 * ridge), 1.0, 0.28 * shine)
    skin = mix(skin, 0.04, step(0.014 - np.hypot(s - 0.075, np.abs(n) - 0.058), soft))  # two eyes
    fins, rays = np.zeros(shape), np.zeros(shape)
    # The pectoral fins, the pelvic fins and the tail: start along and across the body, direction, length and width.
    for base, side, turn, length, spread in (
        (0.25, 0.085, 0.85, 0.20, 0.62),
        (0.58, 0.065, 0.55, 0.11, 0.50),
        (0.93, 0, 0.32, 0.29, 0.34),
    ):
        angle = np.arctan2(np.abs(n) - side, s - base) - turn
        edge = length * np.sqrt(np.clip(np.cos(angle / spread * np.pi / 2), 0, 1)) * (np.abs(angle) < spread)
        inside = step(edge - np.hypot(s - base, np.abs(n) - side), soft)
        rays = np.where(inside > fins, 0.5 + 0.5 * np.cos(angle * 34), rays)
        fins = np.maximum(fins, inside)
    fin = mix(0.2 * colour + 0.8 * WHITE, colour, 0.4 * rays) * (0.78 + 0.16 * rays)[..., None]
    return np.dstack([mix(fin, skin, body), np.maximum(body, 0.85 * fins)]).astype(np.float32)


def bend_koi(strip: np.ndarray, way: np.ndarray, t: float, beats: float, length: float) -> np.ndarray:
    """Bends a koi along its path. Returns RGBA, `[H,W,4]`.

    Args:
        strip: the straight koi.
        way: the path, `[p,2]`, as x and y in pixels.
        t: the position on the path, from 0 to 1.
        beats: the number of tail beats so far.
        length: the length of the koi in pixels.
    """
    covered = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(way, axis=0).T))])
    s = np.linspace(0, 1.25, 90)
    behind = 1.25 * length + t * (covered[-1] - 1.25 * length) - s * length
    straight = np.stack([np.interp(behind, covered, way[:, i]) for i in (0, 1)], -1)
    swing = length * (0.012 + 0.075 * s**2) * np.sin(2 * np.pi * (0.9 * s - beats))  # a wave that grows towards the tail
    spine = straight + swing[:, None] * forward(straight)[:, ::-1] * (-1, 1)
    # For each pixel near the koi, compute the nearest point of the spine and the distances along and across the spine.
    near = np.hypot(columns - spine[36, 0], rows - spine[36, 1]) < 0.95 * length
    offsets = np.stack([columns[near], rows[near]], -1)[:, None] - spine
    best = np.argmin((offsets**2).sum(-1), axis=1)
    (dx, dy), (ax, ay) = offsets[np.arange(best.size), best].T, forward(spine)[best].T
    u = (s[best] * length - dx * ax - dy * ay) / length * STRIP
    v = ((dy * ax - dx * ay) / length + 0.3) * STRIP
    inside = (u >= 0) & (u < strip.shape[1]) & (v >= 0) & (v < strip.shape[0])
    picture = np.zeros((*rows.shape, 4), np.float32)
    picture[near] = strip[np.where(inside, v, 0).astype(int), np.where(inside, u, 0).astype(int)] * inside[:, None]
    return picture


def forward(spine: np.ndarray) -> np.ndarray:
    """Returns the unit vector towards the nose at each point of a spine, `[p,2]`."""
    ahead = -np.gradient(spine, axis=0)
    return ahead / np.linalg.norm(ahead, axis=1, keepdims=True)


def lily_pad(x: float, y: float, radius: float, turn: float, flower: bool) -> np.ndarray:
    """Draws a leaf with a notch, veins and a bright rim, optionally with a flower on it. Returns RGBA, `[H,W,4]`."""
    reach = np.hypot(columns - x, rows - y) / radius
    angle = np.mod(np.arctan2(rows - y, columns - x) - turn, 2 * np.pi) - np.pi
    edge = 1 + 0.025 * np.cos(5 * angle) + 0.012 * np.cos(13 * angle + 1)
    alpha = step((edge - reach) * radius, 1) * step((np.pi - 0.16 - np.abs(angle)) * reach * radius, 1)
    veins = np.exp(-((np.sin(angle * 8) * reach * radius / 4.4) ** 2)) * (reach > 0.05)
    green = np.array([0.25, 0.52, 0.20]) * (0.78 + 0.35 * reach**2 + 0.10 * np.cos(angle + 2.4))[..., None]
    colour = mix(
        mix(green, np.array([0.52, 0.72, 0.36]), 0.42 * veins), np.array([0.66, 0.72, 0.34]), 0.6 * step(reach - 0.95, 0.06)
    )
    for shade, size, petals in ((0.86, 0.66, 9), (0.94, 0.50, 8), (1.02, 0.34, 7)) if flower else ():
        # The angle from the centre line of the nearest petal.
        off = (np.mod(angle * petals / (2 * np.pi) + size * 3, 1) - 0.5) * 2 * np.pi / petals
        along, across = reach * np.cos(off) / size, reach * np.abs(np.sin(off)) / size
        half = 0.24 * np.sin(np.pi * np.clip(along, 0, 1) ** 0.9)
        pink = mix(np.array([1.0, 0.93, 0.94]), np.array([0.94, 0.42, 0.60]), np.clip(along, 0, 1) ** 2)
        petal = step((half - across) * size * radius, 1) * (along < 1)
        colour = mix(colour, pink * (shade - 0.25 * across / np.maximum(half, 0.03))[..., None], petal)
        alpha = np.maximum(alpha, petal)
    heart = step((0.10 - reach) * radius, 1.2) * flower
    return np.dstack([mix(colour, GOLD, heart), np.maximum(alpha, heart)])


def sunlight(x: np.ndarray, y: np.ndarray, t: float) -> np.ndarray:
    """Returns the brightness of sunlight at points of the pond. Moving bright lines are added to a base brightness of 0.88."""
    x, y = x + 9 * np.sin(y / 31 + 5 * t), y + 9 * np.sin(x / 27 - 4 * t)
    waves = sum(
        np.sin((x * np.cos(a) + y * np.sin(a)) / scale + speed * t + a)
        for a, scale, speed in ((0.3, 13, 5), (1.4, 11, -6), (2.3, 15, 4), (3.6, 9, 7), (5.1, 12, -5))
    )
    return 0.88 + 0.45 * np.exp(-((waves / 0.45) ** 2))
