"""Functions that return the data section of an experiment config.

By default, a clip from a still image consists of three transformed copies of the image, and a clip from a video consists of
three frames. The field `max_skip`, and the field `repeat` of each data set, are schedules of the form ((first sample, value),
...). Schedules are defined in samples, so the batch size and the number of devices do not affect schedules.
"""

from collections.abc import Sequence

from ml_collections import ConfigDict

from hmmn_jax.training.defaults import affine, clips, jitter, source
from hmmn_jax.training.schedules import Schedule

YOUTUBE_VOS_2019_VIDEOS, DAVIS_2017_VIDEOS, DAVIS_REPEAT = 3471, 60, 5
MAIN_EPOCH = YOUTUBE_VOS_2019_VIDEOS + DAVIS_REPEAT * DAVIS_2017_VIDEOS  # 3771 samples


def stills(sets: dict[str, ConfigDict]) -> ConfigDict:
    """Returns the data section for pre-training on images.

    The frames of a clip are transformed copies of the same image, with objects pasted from other images.
    """
    config = clips()
    config.sets = ConfigDict(sets)
    config.affine.frame = affine(20.0, 10.0, 0.1)
    config.colour.clip = jitter(0.1, 0.03)
    config.colour.frame = jitter(0.05, 0.0)
    config.grey = 0.05
    config.copy_paste.probability = 0.8
    return config


def videos(sets: dict[str, ConfigDict], max_skip: Schedule) -> ConfigDict:
    """Returns the data section for main training on videos.

    Each clip has three frames in temporal order, cropped around an object.
    """
    config = clips()
    config.sets = ConfigDict(sets)
    config.max_skip = max_skip
    config.affine.frame = affine(15.0, 10.0, 0.05)
    config.colour.clip = jitter(0.1, 0.03)
    config.colour.frame = jitter(0.02, 0.0)
    config.grey = 0.05
    return config


def stm_curriculum(samples_per_epoch: int, *, every: int = 20, by: int = 5, most: int = 25) -> Schedule:
    """Returns the skip schedule of STM, in which the maximum skip increases from 0 to `most`.

    `every` is the number of epochs between two increases, and `by` is the size of each increase, in frames.
    """
    return tuple((step * every * samples_per_epoch, step * by) for step in range(most // by + 1))


def stcn_curriculum(
    samples: int, skips: Sequence[int] = (5, 10, 15, 20, 25, 5), shares: Sequence[float] = (0, 0.1, 0.2, 0.3, 0.4, 0.9)
) -> Schedule:
    """Returns the skip schedule of STCN. After the fraction `shares[i]` of all samples, the maximum skip becomes `skips[i]`."""
    return tuple((round(share * samples), skip) for share, skip in zip(shares, skips, strict=True))


def paper_stills() -> ConfigDict:
    """Returns the data section for pre-training on five image data sets. BIG and HRSOD are repeated five times."""
    repeats = {"duts": 1, "ecssd": 1, "fss1000": 1, "big": 5, "hrsod": 5}
    return stills({name: source(f"image_masks/{name}", still=True, repeat=repeat) for name, repeat in repeats.items()})


def paper_videos() -> ConfigDict:
    """Returns the data section for main training on YouTube-VOS 2019 and DAVIS-2017, with the skip schedule of STM.

    DAVIS-2017 is repeated five times.
    """
    sets = {
        "davis": source("davis/2017_480p", still=False, repeat=DAVIS_REPEAT),
        "youtube_vos": source("youtube_vos/2019", still=False),
    }
    return videos(sets, stm_curriculum(MAIN_EPOCH))


def moving_shapes() -> ConfigDict:
    """Returns the data section for training on rendered clips, which need no data files."""
    return videos({"shapes": source("moving_shapes", still=False)}, ((0, 2),))


def lite() -> ConfigDict:
    """Returns the data section for the first stage of hmmn-lite.

    Half of the clips are from 26 videos, and the other half is from small sets of still images.
    """
    stills = {"ccp": 0.6, "clothes": 0.6, "human": 1.0, "street": 0.7}
    sets = {name: source(f"image_masks/{name}", still=True, repeat=repeat) for name, repeat in stills.items()}
    sets["davis"] = source("davis/train26", still=False, repeat=76.0)
    # Objects usually move little between consecutive frames. With larger motion in training, the model learns not to rely on
    # the previous mask.
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
    # A pasted object can be chosen as the target object, so appearance alone does not identify the target.
    config.copy_paste.probability = 0.6
    config.copy_paste.size = (0.12, 0.8)
    config.copy_paste.drift = 0.05
    return config
