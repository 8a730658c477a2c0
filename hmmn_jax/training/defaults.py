"""Defaults of a training config, with an explanation of each field. The files in `configs/train` start from them.

All lengths and intervals are in samples (training clips), so that they do not depend on the batch size and the number of
devices. An action that is due at some sample happens at the end of the step that contains this sample.
"""

from ml_collections import ConfigDict, config_dict

from hmmn_jax.model import HMMNConfig
from hmmn_jax.training.schedules import Schedule


def base() -> ConfigDict:
    """The settings of STM, without data sets: Adam, learning rate 1e-5, four clips per step, equal weights of all pixels."""
    config = ConfigDict()
    config.model = ConfigDict(HMMNConfig().to_dict())
    config.model.dtype = config_dict.placeholder(str)  # None: float32
    config.data = clips()
    config.seed = 0  # seed for the initial variables and for the dropout of memory branches
    config.samples = 2_000_000
    config.batch = 4  # clips per step, over all devices
    config.micro_batches = 1  # number of parts into which a device splits its clips, to process them one after the other
    config.parallel = ""  # pmap or jit; "": pmap in one process, jit in several
    config.devices = 0  # number of devices, over all processes; 0: all
    # Numbers of objects for which a step is compiled. A device uses the smallest number that fits its clips. (): max_objects.
    config.slots = ()
    config.deterministic = False  # True: sums on a GPU have a fixed order, so that runs are bit-identical, but slower

    # b1, b2 and eps can also be set. `parts` has factors of the learning rate, such as {"backbone": 0.1, "decoder": 0.0}.
    config.optimizer = ConfigDict({"name": "adam", "clip_norm": 0.0, "weight_decay": 0.0})
    config.learning_rate = ConfigDict(
        {
            "schedule": "constant",  # constant, poly, step or cosine
            "peak": 1e-5,
            "for_batch": 0,  # batch size of `peak`; others scale it by the square root of the ratio; 0: no scaling
            "warmup": 0,  # samples
            "power": 0.9,  # for poly: exponent
            "boundaries": (),  # for step: fractions of the run
            "factor": 0.1,  # for step: factor at each boundary
            "end": 0.0,  # for poly and cosine: final value, as a fraction of the peak
        }
    )
    # Between the samples `start` and `end`, the fraction of pixels in the loss falls to the hardest `share` of each frame.
    config.hardest = ConfigDict({"share": 1.0, "start": 80_000, "end": 280_000})
    config.dropout = 0.5  # probability that a Refine block does not use its fine memory
    config.ema_decay = 0.0  # 0: no moving average

    config.init = ""  # variables to start from: a workdir, converted weights, or an ImageNet file that fits the backbone
    config.resume = ""  # a workdir whose run is continued with this config, including step and optimizer state

    config.log_every = 400  # samples
    config.stop_above = 20.0  # mean loss over `log_every` samples above which training has diverged
    config.checkpoint = ConfigDict({"every": 8000, "keep": 3, "keep_best": 1})
    config.validation = validation()
    config.profile = ""  # START:STOP, the steps that are profiled
    return config


def validation() -> ConfigDict:
    """Validation during training: J&F on a benchmark or on your own videos."""
    config = ConfigDict()
    config.data = ""  # root folder of the videos; "": no validation
    config.every = 40_000  # samples
    config.protocol = "davis"  # "davis", or "custom": all folders and video files, scored on annotated frames
    config.year = "2017"
    config.split = "val"
    config.resolution = ""  # "": 480p, or the only resolution
    config.annotations = "Annotations"
    config.sequences = ()  # names of sequences in the list; (): all sequences
    config.late_objects = False  # with "custom": masks of later frames start new objects
    config.order = ""  # order of frame names: natural, decimal, signed or name; "": natural, an error if ambiguous
    config.mask_values = ""  # meaning of your own grey masks: ids or threshold; "": ids, an error for grey levels
    config.single_object = False  # True: all ids are one object, as in DAVIS-2016
    config.size = 480  # shorter side of the network's input; 0: size of the frames. Scores are at full size
    config.mem_every = 5
    return config


def clips() -> ConfigDict:
    """Defaults of all experiments: no data sets, no transforms except resize and crop."""
    config = ConfigDict()
    config.data_dir = "~/tensorflow_datasets"
    config.seed = 0
    config.distinct = 0  # number of clips, which are repeated; 0: all samples are different
    config.workers = 0  # threads that make clips; 0: chosen automatically
    config.sets = ConfigDict()
    config.frames = 3  # frames of a clip
    config.size = (384, 384)  # height, width
    config.max_objects = 5  # maximum number of objects in a clip; if there are more, some are chosen at random
    config.min_area = 350  # objects with fewer pixels in the first frame are ignored
    config.max_skip = ((0, 0),)  # maximum number of video frames between two frames of a clip
    config.resize = 384  # the short side is resized to a random length between this and its own
    config.wander = 1.0  # motion of the crop of a still image between frames, as a fraction of the maximum
    config.reverse = 0.0  # probability that a clip runs backwards
    config.flip = 0.5  # probability of a mirrored clip
    # One transform for the whole clip, then one for each frame.
    config.affine = ConfigDict({"clip": affine(0.0, 0.0, 0.0), "frame": affine(0.0, 0.0, 0.0)})
    config.colour = ConfigDict({"clip": jitter(0.0, 0.0), "frame": jitter(0.0, 0.0)})
    config.grey = 0.0  # probability that a clip is converted to grey
    config.fill = (124, 116, 104)  # colour outside the image: ImageNet's mean
    config.copy_paste = ConfigDict(
        {
            "probability": 0.0,
            "objects": (1, 3),
            "donor_share": (0.01, 0.5),  # range of the fraction of its image that a pasted object covers
            "size": (0.2, 0.6),  # longer side of the pasted object, relative to the output's shorter side
            "zoom_limit": 2.0,
            "moving": False,  # whether objects from videos move as they do in their video
            "twins": 0.0,  # probability that the first object is pasted again at another position
            "drift": 0.1,  # maximum motion between frames, as a fraction of the output's sides
            "affine": affine(30.0, 10.0, 0.1),
        }
    )
    config.hide = ConfigDict({"probability": 0.0, "grid": (24, 24)})  # Hide-and-Seek of KMN
    return config


def affine(rotation: float, shear: float, zoom: float) -> ConfigDict:
    """Maximum rotation and shear in both directions, in degrees, and the range of the zoom of each axis."""
    return ConfigDict({"rotation": rotation, "shear": shear, "zoom": (1 - zoom, 1 + zoom)})


def jitter(factor: float, hue: float) -> ConfigDict:
    """Maximum change of brightness, contrast and saturation, as factors, and of the hue, in turns."""
    return ConfigDict({"brightness": factor, "contrast": factor, "saturation": factor, "hue": hue})


def source(
    name: str, *, still: bool, split: str = "train", repeat: float | int | Schedule = 1.0, donors: float | int = 1.0
) -> ConfigDict:
    """One data set of a mixture.

    Args:
        name: as in `python -m data.build`.
        still: whether frames are single images instead of parts of videos.
        split: split of the data set.
        repeat: weight of each video or image, or a schedule of this weight.
        donors: weight with which each of its objects is chosen for pasting, as a multiple of `repeat`.
    """
    schedule = ((0, float(repeat)),) if isinstance(repeat, int | float) else repeat
    return ConfigDict({"name": name, "split": split, "still": still, "repeat": schedule, "donors": float(donors)})
