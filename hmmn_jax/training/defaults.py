"""Defaults of a training config, its fields explained. The files in `configs/train` start from them; your own config can, too.

All lengths and intervals are in samples (clips seen), so that they do not depend on the batch size and the number of
devices. Something that is due after some samples happens at the end of the step that has them.
"""

from ml_collections import ConfigDict, config_dict

from hmmn_jax.model import HMMNConfig
from hmmn_jax.training.schedules import Schedule


def base() -> ConfigDict:
    """The recipe of the STM family, without data sets: Adam, 1e-5, four clips per step, all pixels have the same weight."""
    config = ConfigDict()
    config.model = ConfigDict(HMMNConfig().to_dict())
    config.model.dtype = config_dict.placeholder(str)  # None: float32
    config.data = clips()
    config.seed = 0  # of random initial variables and of the dropout of memory branches
    config.samples = 2_000_000
    config.batch = 4  # clips of a step, over all devices
    config.micro_batches = 1  # number of parts in which a device processes its share
    config.parallel = ""  # pmap or jit; "": pmap in one process, jit in several
    config.devices = 0  # number of devices, over all processes; 0: all
    # Numbers of objects for which a step is compiled. A device uses the smallest number that fits its clips. (): max_objects.
    config.slots = ()
    config.deterministic = False  # whether sums on a GPU have a fixed order: the same bits in each run, but slower

    # Also b1, b2 and eps; and `parts`: factors on the learning rate, such as {"backbone": 0.1, "decoder": 0.0}; 0 freezes.
    config.optimizer = ConfigDict({"name": "adam", "clip_norm": 0.0, "weight_decay": 0.0})
    config.learning_rate = ConfigDict(
        {
            "schedule": "constant",  # or poly, step, cosine
            "peak": 1e-5,
            "for_batch": 0,  # batch that the peak is meant for; at others it is scaled by the root of the ratio; 0: it is not
            "warmup": 0,  # samples
            "power": 0.9,  # of poly
            "boundaries": (),  # of step: shares of the run
            "factor": 0.1,  # of step
            "end": 0.0,  # of poly and cosine: share of the peak
        }
    )
    # From sample `start` to `end`, the loss is restricted step by step to the hardest `share` of the pixels of each frame.
    config.hardest = ConfigDict({"share": 1.0, "start": 80_000, "end": 280_000})
    config.dropout = 0.5  # probability that the fine memory of a Refine block is dropped
    config.ema_decay = 0.0  # 0: no moving average

    config.init = ""  # variables to start from: a workdir, converted weights, or an ImageNet file that fits the backbone
    config.resume = ""  # a workdir whose run continues here with this config, including step and optimizer

    config.log_every = 400  # samples
    config.stop_above = 20.0  # mean loss over `log_every` samples above which training has diverged
    config.checkpoint = ConfigDict({"every": 8000, "keep": 3, "keep_best": 1})
    config.validation = validation()
    config.profile = ""  # START:STOP, steps of which a trace is written
    return config


def validation() -> ConfigDict:
    """J&F in the course of training, on a benchmark or on your own videos, by the rule of its protocol."""
    config = ConfigDict()
    config.data = ""  # its root; "": no validation
    config.every = 40_000  # samples
    config.protocol = "davis"  # or custom: every folder and video file, scored on the annotated frames
    config.year = "2017"
    config.split = "val"
    config.resolution = ""  # "": 480p, or the only one there is
    config.annotations = "Annotations"
    config.sequences = ()  # of the list; (): all sequences
    config.late_objects = False  # with custom: masks of later frames start the objects that join there
    config.order = ""  # of frames: natural, decimal, signed or name; "": natural, refused where that is ambiguous
    config.mask_values = ""  # of your own grey masks: ids or threshold; "": ids, levels are refused
    config.single_object = False  # as in DAVIS-2016
    config.size = 480  # shorter side of the network's input, 0: size of the frames; scores are at full size
    config.mem_every = 5
    return config


def clips() -> ConfigDict:
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
    config.min_area = 350  # pixels in the first frame, below which an object is ignored
    config.max_skip = ((0, 0),)  # frames of the original video that may be skipped between neighbours
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


def source(
    name: str, *, still: bool, split: str = "train", repeat: float | int | Schedule = 1.0, donors: float | int = 1.0
) -> ConfigDict:
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
