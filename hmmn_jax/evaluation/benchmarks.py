"""Default settings of each benchmark, for `configs/evaluate` and `hmmn-jax evaluate --benchmark`.

The settings also contain the results of the paper, for comparison in reports.
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from hmmn_jax.errors import ConfigError


def base() -> ConfigDict:
    """Returns the default settings: DAVIS-2017 validation at full size. The published scores, `paper`, are empty."""
    config = ConfigDict()
    config.protocol = "davis"  # layout and scoring rules; a protocol in hmmn_jax.evaluation.protocols
    config.year = "2017"
    config.split = "val"
    config.resolution = ""  # "": the only resolution, or 480p if there are several
    config.annotations = "Annotations"
    config.sequences = ()  # names of the sequences to evaluate; (): all sequences
    config.late_objects = False  # True: masks of later frames start new objects
    config.direction = ""  # forward, backward or both: direction of propagation from all masks; "": the benchmark's default
    config.order = ""  # order of frame names: natural, decimal, signed or name; "": natural, or an error if ambiguous
    config.mask_values = ""  # ids, or threshold (values from 128 are the object); "": ids, but grey levels are an error
    config.single_object = False  # True: all ids are scored as one object, as in DAVIS-2016
    config.submission = ""  # pattern of names in the zip for the server, such as "{sequence}/{frame}.png"; "": no zip

    config.mem_every = 5
    config.max_memory_frames = 0  # 0: no limit
    config.size = 0  # shorter side of the network's input, in pixels; 0: size of the frames
    config.scales = (1.0,)  # multiples of `size`; probabilities of several scales are averaged at the size of the frames
    config.flip = False  # True: also segment mirrored frames, and average the probabilities
    config.objects_per_batch = 0  # maximum number of objects to compute at once; 0: one on a CPU, four elsewhere
    config.dtype = ""  # compute dtype; "": the dtype of the checkpoint
    config.save_probabilities = False  # True: also write probabilities/SEQUENCE/FRAME.npz (see `Outputs`)
    config.fps = 0.0  # frame rate of movies; 0: the rate of the video, or 10 for folders
    config.paper = ConfigDict()
    return config


def paper(benchmark: str, sequences: int, figures: dict[str, float], **more: float) -> ConfigDict:
    """Returns the paper's results on a benchmark, for comparison in the report."""
    return ConfigDict({"benchmark": benchmark, "sequences": sequences, "figures": figures, **more})


def davis2016_val() -> ConfigDict:
    """DAVIS-2016 validation, with 20 sequences. All ids are scored as one object."""
    config = base()
    config.year = "2016"
    config.single_object = True
    config.paper = paper("DAVIS-2016 val", 20, {"J&F": 0.908, "J&F without YouTube-VOS": 0.894}, seconds_per_frame=0.10)
    return config


def davis2017_val() -> ConfigDict:
    """DAVIS-2017 validation, with 30 sequences of 1 to 5 objects. Every object has the same weight in the scores."""
    config = base()
    config.paper = paper("DAVIS-2017 val", 30, {"J&F": 0.847, "J&F without YouTube-VOS": 0.804})
    return config


def davis2017_testdev() -> ConfigDict:
    """DAVIS-2017 test-dev, with 30 sequences. The results are written to a zip file for the server."""
    config = base()
    config.split = "test-dev"
    config.submission = "{sequence}/{frame}.png"
    config.paper = paper("DAVIS-2017 test-dev", 30, {"J&F": 0.786})
    return config


def youtube_vos_2018() -> ConfigDict:
    """YouTube-VOS 2018 validation, with 474 videos. The results are written to a zip file for the server."""
    config = base()
    config.protocol = "youtube_vos"
    config.year = "2018"
    config.split = "valid"
    config.late_objects = True
    config.submission = "Annotations/{sequence}/{frame}.png"
    config.paper = paper("YouTube-VOS 2018 valid", 474, {"overall": 0.826, "J seen": 0.821, "J unseen": 0.768})
    return config


def youtube_vos_2019() -> ConfigDict:
    """YouTube-VOS 2019 validation, with 507 videos and the settings of YouTube-VOS 2018."""
    config = youtube_vos_2018()
    config.year = "2019"
    config.paper = paper("YouTube-VOS 2019 valid", 507, {"overall": 0.825, "J seen": 0.817, "J unseen": 0.773})
    return config


def mose1_val() -> ConfigDict:
    """MOSE v1 validation. The results are written to a zip file for the server."""
    config = base()
    config.protocol = "mose1"
    config.year = ""
    config.submission = "{sequence}/{frame}.png"
    return config


def mose2_val() -> ConfigDict:
    """MOSE v2 validation. Objects disappear and reappear. The results are written to a zip file for the server."""
    config = mose1_val()
    config.protocol = "mose2"
    return config


def lvos_val() -> ConfigDict:
    """LVOS v1 and v2 validation, with long videos and separate scores for seen and unseen classes."""
    config = base()
    config.protocol = "lvos"
    config.year = ""
    config.split = "valid"
    config.late_objects = True
    config.max_memory_frames = 50
    return config


def lvos_test() -> ConfigDict:
    """LVOS v1 test. The results are written to a zip file for the server."""
    config = lvos_val()
    config.split = "test"
    config.submission = "Annotations/{sequence}/{frame}.png"
    return config


def vost_val() -> ConfigDict:
    """VOST validation, with objects that change shape. Only J is computed."""
    config = base()
    config.protocol = "vost"
    config.year = ""
    return config


def long_video() -> ConfigDict:
    """Long-time Video, with videos of thousands of frames. Annotated frames are scored with the DAVIS rule."""
    config = base()
    config.protocol = "long_video"
    config.year = ""
    config.max_memory_frames = 50
    return config


def sav_val() -> ConfigDict:
    """SA-V validation, with objects that may overlap. The masks of each object are in a separate folder."""
    config = base()
    config.protocol = "sav"
    config.year = ""
    return config


def sav_test() -> ConfigDict:
    """SA-V test, with the settings of SA-V validation."""
    config = sav_val()
    config.split = "test"
    return config


def burst_val() -> ConfigDict:
    """BURST validation for the exemplar-guided task. The result is a JSON file for the official evaluator."""
    config = base()
    config.protocol = "burst"
    config.year = ""
    config.annotations = "annotations"
    return config


def burst_test() -> ConfigDict:
    """BURST test, with the settings of BURST validation."""
    config = burst_val()
    config.split = "test"
    return config


def custom() -> ConfigDict:
    """Your own videos, as folders of images or as video files. The annotated frames are scored."""
    config = base()
    config.protocol = "custom"
    config.year = ""
    config.split = ""
    return config


def demo() -> ConfigDict:
    """The bundled clip, which shows two koi in 40 frames."""
    config = base()
    config.mem_every = 1  # the clip is short and changes quickly
    return config


_ALL = (
    davis2016_val,
    davis2017_val,
    davis2017_testdev,
    youtube_vos_2018,
    youtube_vos_2019,
    mose1_val,
    mose2_val,
    lvos_val,
    lvos_test,
    vost_val,
    long_video,
    sav_val,
    sav_test,
    burst_val,
    burst_test,
    custom,
    demo,
)
BENCHMARKS: dict[str, Callable[[], ConfigDict]] = {benchmark.__name__: benchmark for benchmark in _ALL}


def benchmark_settings(name: str) -> ConfigDict:
    """Returns the settings of a benchmark as a locked config. Raises ConfigError for an unknown name."""
    if name not in BENCHMARKS:
        raise ConfigError(f"unknown benchmark {name!r}, expected one of {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]().lock()
