"""The data sections of experiments: functions that give them, for the config files to compose.

Stills make clips of three transforms of one image, videos clips of three frames. Schedules are ((first sample, value), ...),
in samples, so that neither the batch nor the number of devices moves them.
"""

from collections.abc import Sequence

from ml_collections import ConfigDict

YOUTUBE_VOS_2019_VIDEOS, DAVIS_2017_VIDEOS, DAVIS_REPEAT = 3471, 60, 5
MAIN_EPOCH = YOUTUBE_VOS_2019_VIDEOS + DAVIS_REPEAT * DAVIS_2017_VIDEOS  # 3771 samples

Schedule = tuple[tuple[int, float], ...]


def base() -> ConfigDict:
    """Defaults of all experiments: no data sets, no transforms except resize and crop."""
    config = ConfigDict()
    config.data_dir = "~/tensorflow_datasets"
    config.seed = 0
    config.distinct = 0  # number of clips that are repeated; 0: every sample is another
    config.workers = 0  # threads that make clips; 0: as many as pay
    config.sets = ConfigDict()
    config.frames = 3  # of a clip
    config.size = (384, 384)  # height, width
    config.max_objects = 5  # of a clip; if there are more, some are drawn
    config.min_area = 350  # pixels in the first frame, below which an object is left out
    config.max_skip = ((0, 0),)  # frames of the original video that may be left out between neighbours
    config.resize = 384  # the short side is resized to a random length between this and its own
    config.wander = 1.0  # how far the crop of a still moves between frames, as a share of the possible distance
    config.reverse = 0.0  # probability of going backwards in time
    config.flip = 0.5  # probability of a mirrored clip
    # Of the whole clip, and then of each frame.
    config.affine = ConfigDict({"clip": affine(0.0, 0.0, 0.0), "frame": affine(0.0, 0.0, 0.0)})
    config.colour = ConfigDict({"clip": jitter(0.0, 0.0), "frame": jitter(0.0, 0.0)})
    config.grey = 0.0  # probability of a grey clip
    config.fill = (124, 116, 104)  # colour outside of the image: ImageNet's mean
    config.copy_paste = ConfigDict(
        {
            "probability": 0.0,
            "objects": (1, 3),
            "donor_share": (0.01, 0.5),  # share of its image that an object must cover to be pasted
            "size": (0.2, 0.6),  # longer side of the object, as a share of the output's shorter one
            "zoom_limit": 2.0,
            "moving": False,  # whether objects from videos move as in their video, frame by frame
            "twins": 0.0,  # probability that the second object is the first once more, at another place
            "drift": 0.1,  # most that it moves between frames, as a share of the output's sides
            "affine": affine(30.0, 10.0, 0.1),
        }
    )
    config.hide = ConfigDict({"probability": 0.0, "grid": (24, 24)})  # KMN's Hide-and-Seek
    return config


def affine(rotation: float, shear: float, zoom: float) -> ConfigDict:
    """Greatest turn and shear to either side, in degrees, and the range of the zoom of each axis."""
    return ConfigDict({"rotation": rotation, "shear": shear, "zoom": (1 - zoom, 1 + zoom)})


def jitter(factor: float, hue: float) -> ConfigDict:
    """Maximum change of brightness, contrast and saturation, as factors, and of the hue, in turns."""
    return ConfigDict({"brightness": factor, "contrast": factor, "saturation": factor, "hue": hue})


def source(name: str, *, still: bool, split: str = "train", repeat: float | Schedule = 1.0, donors: float = 1.0) -> ConfigDict:
    """One set of a mixture.

    Args:
        name: as in `python -m data.build`.
        still: whether each frame is an image of its own, rather than part of a video.
        split: of the set.
        repeat: how often each video or image counts, or a schedule of that.
        donors: how often each of its objects is pasted, as a multiple of `repeat`.
    """
    schedule = ((0, float(repeat)),) if isinstance(repeat, int | float) else repeat
    return ConfigDict({"name": name, "split": split, "still": still, "repeat": schedule, "donors": float(donors)})


def stills(sets: dict[str, ConfigDict]) -> ConfigDict:
    """Pre-training on images: each frame is a transform of its own, objects of other images are pasted in."""
    config = base()
    config.sets = ConfigDict(sets)
    config.affine.frame = affine(20.0, 10.0, 0.1)
    config.colour.clip = jitter(0.1, 0.03)
    config.colour.frame = jitter(0.05, 0.0)
    config.grey = 0.05
    config.copy_paste.probability = 0.8
    return config


def videos(sets: dict[str, ConfigDict], max_skip: Schedule) -> ConfigDict:
    """Main training on videos: three frames in time order, cropped around an object."""
    config = base()
    config.sets = ConfigDict(sets)
    config.max_skip = max_skip
    config.affine.frame = affine(15.0, 10.0, 0.05)
    config.colour.clip = jitter(0.1, 0.03)
    config.colour.frame = jitter(0.02, 0.0)
    config.grey = 0.05
    return config


def stm_curriculum(samples_per_epoch: int, *, every: int = 20, by: int = 5, most: int = 25) -> Schedule:
    """STM: skips grow from 0 to `most`, `by` at a time, every so many epochs."""
    return tuple((step * every * samples_per_epoch, step * by) for step in range(most // by + 1))


def stcn_curriculum(
    samples: int, skips: Sequence[int] = (5, 10, 15, 20, 25, 5), shares: Sequence[float] = (0, 0.1, 0.2, 0.3, 0.4, 0.9)
) -> Schedule:
    """STCN: each skip applies from its share of all samples on."""
    return tuple((round(share * samples), skip) for share, skip in zip(shares, skips, strict=True))


def paper_stills() -> ConfigDict:
    """Pre-training on the sets of permissive code bases; a small set of very large images counts five times."""
    repeats = {"duts": 1, "ecssd": 1, "fss1000": 1, "big": 5, "hrsod": 5}
    return stills({name: source(f"image_masks/{name}", still=True, repeat=repeat) for name, repeat in repeats.items()})


def paper_videos() -> ConfigDict:
    """Main training: YouTube-VOS 2019 and five times DAVIS-2017, skips as in STM."""
    sets = {
        "davis": source("davis/2017_480p", still=False, repeat=DAVIS_REPEAT),
        "youtube_vos": source("youtube_vos/2019", still=False),
    }
    return videos(sets, stm_curriculum(MAIN_EPOCH))


def moving_shapes() -> ConfigDict:
    """Rendered clips, for which no files are needed."""
    return videos({"shapes": source("moving_shapes", still=False)}, ((0, 2),))


def lite() -> ConfigDict:
    """Stage one of hmmn-lite: three small sets of stills, of one also the parts, and half of the clips of 26 videos."""
    stills = {"ccp": 0.6, "clothes": 0.6, "human": 1.0, "street": 0.7}
    sets = {name: source(f"image_masks/{name}", still=True, repeat=repeat) for name, repeat in stills.items()}
    sets["davis"] = source("davis/train26", still=False, repeat=76.0)
    # Objects move little between two frames of a video. A model trained on large moves does not rely on the last mask.
    config = videos(sets, ((0, 6), (6000, 12)))
    config.size = (176, 176)
    config.resize = 176
    config.max_objects = 1
    config.min_area = 150
    config.wander = 0.2
    config.reverse = 0.5
    config.affine.clip = affine(10.0, 5.0, 0.25)
    config.affine.frame = affine(8.0, 4.0, 0.05)
    config.colour.clip = jitter(0.25, 0.05)
    # Pasted objects can be the object to follow, so appearance alone does not identify it.
    config.copy_paste.probability = 0.6
    config.copy_paste.size = (0.12, 0.8)
    config.copy_paste.drift = 0.05
    return config
