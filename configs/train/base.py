"""Defaults of all training experiments, as a function whose result the config files change.

Lengths are in samples (clips seen), so that neither the batch nor the number of devices moves them; how often something is
logged, saved or validated is in steps.
"""

from ml_collections import ConfigDict, config_dict

from hmmn_jax import HMMNConfig
from hmmn_jax.model.backbones import EfficientNetLite


def base() -> ConfigDict:
    """The recipe of the STM family without its data: Adam, 1e-5, four clips a step, all pixels have the same weight."""
    config = ConfigDict()
    config.model = ConfigDict(HMMNConfig().to_dict())
    config.model.dtype = config_dict.placeholder(str)  # None: float32
    config.seed = 0  # of random initial variables and of the dropout of memory branches
    config.samples = 2_000_000
    config.batch = 4  # clips of a step, over all devices
    config.micro_batches = 1  # number of parts in which a device processes its share
    config.parallel = "pmap"  # or "jit", for several hosts

    # Also b1, b2 and eps; and `parts`: factors on the learning rate, such as {"backbone": 0.1, "decoder": 0.0}; 0 freezes.
    config.optimizer = ConfigDict({"name": "adam", "clip_norm": 0.0, "weight_decay": 0.0})
    config.learning_rate = ConfigDict(
        {
            "schedule": "constant",  # or poly, step, cosine
            "peak": 1e-5,
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

    config.log_every = 100
    config.stop_above = 20.0  # mean loss over `log_every` steps above which training has diverged
    config.checkpoint = ConfigDict({"every": 2000, "keep": 3, "keep_best": 1})
    config.validation = validation()
    config.profile = ""  # START:STOP, steps of which a trace is written
    return config


def validation() -> ConfigDict:
    """J&F in the course of training, on a benchmark or on your own videos, by the rule of its protocol."""
    config = ConfigDict()
    config.data = ""  # its root; "": no validation
    config.every = 10_000
    config.protocol = "davis"  # or custom: every folder and video file, scored on the annotated frames
    config.year = "2017"
    config.split = "val"
    config.resolution = ""  # "": 480p, or the only one there is
    config.annotations = "Annotations"
    config.sequences = ()  # of the list; (): all of them
    config.late_objects = False  # with custom: masks of later frames start the objects that join there
    config.order = ""  # of frames: natural, decimal, signed or name; "": natural, refused where that is ambiguous
    config.mask_values = ""  # of your own grey masks: ids or threshold; "": ids, levels are refused
    config.single_object = False  # as in DAVIS-2016
    config.size = 480  # shorter side of the network's input, 0: size of the frames; scores are at full size
    config.mem_every = 5
    return config


def lite_model() -> ConfigDict:
    """A model for a CPU: 2.2 million parameters; the backbones are pretrained on ImageNet."""
    small = HMMNConfig(
        backbone=EfficientNetLite(),
        normalise_keys=True,
        kernel_in_training=True,
        sigma=2.0,
        key_dim_s16=64,
        key_dim_s8=32,
        key_dim_s4=16,
        value_dim_s16=128,
        value_dim_s8=48,
        value_dim_s4=24,
        decoder_dim=48,
        k_s8=24,
        k_s4=6,
    )
    config = ConfigDict(small.to_dict())
    config.dtype = config_dict.placeholder(str)
    return config
