"""What all evaluations share: a function that gives it, for the config files to change."""

from ml_collections import ConfigDict


def base() -> ConfigDict:
    """DAVIS-2017 validation at its own size; nothing of the paper."""
    config = ConfigDict()
    config.protocol = "davis"  # how the folder is laid out: davis, youtube_vos, custom
    config.year = "2017"
    config.split = "val"
    config.resolution = ""  # "": 480p, or the only one there is
    config.annotations = "Annotations"
    config.sequences = ()  # of the list; (): all of them
    config.late_objects = False  # masks of later frames name objects that join there
    config.order = ""  # of frames: natural, decimal, signed or name; "": natural, refused where that is ambiguous
    config.mask_values = ""  # of grey masks of one's own: ids or threshold (128 and more); "": ids, levels are refused
    config.single_object = False  # all ids are scored as one object, as DAVIS-2016 does
    config.submission = ""  # names in a zip for the server, such as "{sequence}/{frame}.png"; "": no zip

    config.mem_every = 5
    config.max_memory_frames = 0  # 0: no bound
    config.size = 0  # shorter side of what the network sees, in pixels; 0: as the frames are
    config.scales = (1.0,)  # factors on that; of several, probabilities are averaged at the size of the frames
    config.flip = False  # average with the mirrored frames, too
    config.objects_per_batch = 0  # 0: 1 on a CPU, else 4
    config.dtype = ""  # compute dtype; "": that of the checkpoint
    config.save_probabilities = False  # also write probabilities/SEQUENCE/FRAME.npz: probs, float16 [K+1,H,W], and ids, [K+1]
    config.fps = 0.0  # of the movies; 0: that of the video, 10 for folders
    config.paper = ConfigDict()
    return config


def paper(benchmark: str, sequences: int, figures: dict[str, float], **more: float) -> ConfigDict:
    """What the paper says of a benchmark, for the report: shown beside what was measured, never used for anything else."""
    return ConfigDict({"benchmark": benchmark, "sequences": sequences, "figures": figures, **more})
