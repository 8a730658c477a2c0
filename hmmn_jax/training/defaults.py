"""Defines and explains the fields of a training config. The files in `configs/train` override the default values.

All durations and intervals are in samples (training clips), so they do not depend on the batch size or the number of devices.
An action that is due at a certain sample happens at the end of the step that contains this sample.
"""

from ml_collections import ConfigDict, config_dict

from hmmn_jax.model import HMMNConfig
from hmmn_jax.training.schedules import Schedule


def base() -> ConfigDict:
    """Returns the settings of STM (Adam, learning rate 1e-5, four clips per step, equal pixel weights) without data sets."""
    config = ConfigDict()
    config.model = ConfigDict(HMMNConfig().to_dict())
    config.model.dtype = config_dict.placeholder(str)  # None means float32
    config.data = clips()
    config.seed = 0  # seed for the initial variables and the dropout of fine memories
    config.samples = 2_000_000
    config.batch = 4  # clips per step, on all devices together
    config.micro_batches = 1  # number of equal parts into which a device splits its clips, processed one after the other
    config.parallel = ""  # "pmap" or "jit"; "" means pmap for one process and jit for several
    config.devices = 0  # number of devices in all processes together; 0 means all devices
    # Numbers of objects for which a step is compiled. Each device uses the smallest number that is enough for its clips. The
    # empty tuple means that a step is compiled only for max_objects.
    config.slots = ()
    config.deterministic = False  # whether GPUs sum in a fixed order; runs are then bit-identical, but slower

    # The fields b1, b2 and eps can also be set. The field `parts` scales the learning rate of parts of the network, for example
    # {"backbone": 0.1, "decoder": 0.0}.
    config.optimizer = ConfigDict({"name": "adam", "clip_norm": 0.0, "weight_decay": 0.0})
    config.learning_rate = ConfigDict(
        {
            "schedule": "constant",  # constant, poly, step or cosine
            "peak": 1e-5,
            "for_batch": 0,  # batch size for which `peak` was chosen (see `scaled_for_batch`); 0 means no scaling
            "warmup": 0,  # number of warm-up samples
            "power": 0.9,  # exponent of the schedule "poly"
            "boundaries": (),  # fractions of the run at which the schedule "step" changes the rate
            "factor": 0.1,  # factor that the schedule "step" applies at each boundary
            "end": 0.0,  # final value of the schedules "poly" and "cosine", as a fraction of the peak
        }
    )
    # Between samples `start` and `end`, the fraction of pixels in the loss decreases from 1 to `share`. The pixels with the
    # largest loss in each frame are used.
    config.hardest = ConfigDict({"share": 1.0, "start": 80_000, "end": 280_000})
    config.dropout = 0.5  # probability that a Refine block ignores its fine memory
    config.ema_decay = 0.0  # decay of the moving average of the parameters; 0 means no moving average

    config.init = ""  # initial variables: a workdir, converted weights, or ImageNet weights for the backbone
    config.resume = ""  # workdir of another run; training continues from the last step and optimizer state of that run

    config.log_every = 400  # number of samples between two lines of metrics
    config.stop_above = 20.0  # training stops with an error if the mean loss over `log_every` samples exceeds this value
    config.checkpoint = ConfigDict({"every": 8000, "keep": 3, "keep_best": 1})
    config.validation = validation()
    config.profile = ""  # first and last step to profile, as START:STOP
    return config


def validation() -> ConfigDict:
    """Returns the settings of validation during training. Validation computes J&F on a benchmark or on your own videos."""
    config = ConfigDict()
    config.data = ""  # root folder of the videos; "" means no validation
    config.every = 40_000  # number of samples between two validations
    config.protocol = "davis"  # "davis" or "custom"; "custom" uses all folders and video files, and scores annotated frames
    config.year = "2017"
    config.split = "val"
    config.resolution = ""  # "" means 480p or, if the data has only one resolution, this resolution
    config.annotations = "Annotations"
    config.sequences = ()  # names of the sequences to use; () means all sequences
    config.late_objects = False  # for the protocol "custom", whether masks of later frames add new objects
    # Order of frame names: natural, decimal, signed or name. With "", the order is natural, and ambiguous names are an error.
    config.order = ""
    # Meaning of your own grey masks: ids or threshold. With "", values are ids, and masks with grey levels are an error.
    config.mask_values = ""
    config.single_object = False  # whether all ids are one object, as in DAVIS-2016
    # Shorter side of the network's input; 0 means the size of the frames. Scores are always computed at full size.
    config.size = 480
    config.mem_every = 5
    return config


def clips() -> ConfigDict:
    """Returns the default settings of training clips, with no data sets and no transforms except resizing and cropping."""
    config = ConfigDict()
    config.data_dir = "~/tensorflow_datasets"
    config.seed = 0
    config.distinct = 0  # number of distinct clips, repeated in a cycle; 0 means that all clips are different
    config.workers = 0  # number of threads that make clips; 0 means that the number is chosen automatically
    config.sets = ConfigDict()
    config.frames = 3  # frames per clip
    config.size = (384, 384)  # height and width of a clip
    config.max_objects = 5  # maximum number of objects in a clip; if there are more objects, some are chosen at random
    config.min_area = 350  # objects with fewer pixels in the first frame are ignored
    config.max_skip = ((0, 0),)  # maximum number of video frames skipped between consecutive frames of a clip
    config.resize = 384  # the shorter side is resized to a random length between this value and the original length
    config.wander = 1.0  # how far the crop of a still image moves between frames, as a fraction of the possible range
    config.reverse = 0.0  # probability that the frames of a clip are in reverse order
    config.flip = 0.5  # probability that a clip is mirrored
    # First, one transform is applied to the whole clip. Then, a separate transform is applied to each frame.
    config.affine = ConfigDict({"clip": affine(0.0, 0.0, 0.0), "frame": affine(0.0, 0.0, 0.0)})
    config.colour = ConfigDict({"clip": jitter(0.0, 0.0), "frame": jitter(0.0, 0.0)})
    config.grey = 0.0  # probability that a clip is converted to grey
    config.fill = (124, 116, 104)  # colour of pixels outside the image; the default is ImageNet's mean
    config.copy_paste = ConfigDict(
        {
            "probability": 0.0,
            "objects": (1, 3),
            # Minimum and maximum area of a pasted object, as a fraction of the image from which the object is taken.
            "donor_share": (0.01, 0.5),
            "size": (0.2, 0.6),  # longer side of the pasted object, relative to the output's shorter side
            "zoom_limit": 2.0,
            "moving": False,  # whether a pasted object from a video keeps its motion in that video
            "twins": 0.0,  # probability that the first object is pasted a second time, at another position
            "drift": 0.1,  # maximum motion between frames, as a fraction of the output's sides
            "affine": affine(30.0, 10.0, 0.1),
        }
    )
    config.hide = ConfigDict({"probability": 0.0, "grid": (24, 24)})  # augmentation by Hide-and-Seek, as in KMN
    return config


def affine(rotation: float, shear: float, zoom: float) -> ConfigDict:
    """Makes settings for affine transforms. Rotation and shear are maxima in degrees; zoom is the maximum relative change."""
    return ConfigDict({"rotation": rotation, "shear": shear, "zoom": (1 - zoom, 1 + zoom)})


def jitter(factor: float, hue: float) -> ConfigDict:
    """Makes settings for colour jitter.

    `factor` is the maximum relative change of brightness, contrast and saturation. `hue` is the maximum change of the hue, as
    a fraction of a full turn.
    """
    return ConfigDict({"brightness": factor, "contrast": factor, "saturation": factor, "hue": hue})


def source(
    name: str, *, still: bool, split: str = "train", repeat: float | int | Schedule = 1.0, donors: float | int = 1.0
) -> ConfigDict:
    """Returns the settings of one data set in a mixture.

    Args:
        name: name of the data set, as in `python -m data.build`.
        still: whether the data set contains single images instead of videos.
        split: split of the data set.
        repeat: sampling weight of each video or image, or a schedule of this weight.
        donors: weight with which objects of this data set are chosen for pasting, as a multiple of `repeat`.
    """
    schedule = ((0, float(repeat)),) if isinstance(repeat, int | float) else repeat
    return ConfigDict({"name": name, "split": split, "still": still, "repeat": schedule, "donors": float(donors)})
