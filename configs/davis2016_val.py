"""DAVIS-2016 validation: 20 sequences, one object each.

    python evaluate.py --config configs/davis2016_val.py --data DAVIS --checkpoint OUT --output RUN
    python evaluate.py --config configs/davis2016_val.py --data DAVIS --score PRED

The second scores the masks PRED/SEQUENCE/FRAME.png of any method, at about 4 ms a frame a core. DAVIS is the folder with
JPEGImages, Annotations and ImageSets; masks of 0/255 and of 0/1, lists of names and of frame pairs are all read. Paper
(quoted, not measured here): J&F 90.8 with YouTube-VOS in training, 89.4 without; 0.10 s a frame on an unnamed GPU.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The defaults of every evaluation; other configs change what differs."""
    config = ConfigDict()
    config.protocol = "davis"  # how the folder is laid out: davis, youtube_vos, custom
    config.year = "2016"
    config.split = "val"
    config.resolution = ""  # "": 480p, or the only one there is
    config.annotations = "Annotations"
    config.sequences = ()  # of the list; (): all of them
    config.late_objects = False  # masks of later frames name objects that join there
    config.order = ""  # of frames: natural, decimal, signed or name; "": natural, refused where that is ambiguous
    config.mask_values = ""  # of grey masks of one's own: ids or threshold (128 and more); "": ids, levels are refused
    config.single_object = True  # all ids are scored as one object, as DAVIS-2016 does
    config.submission = ""  # names in a zip for the server, such as "{sequence}/{frame}.png"; "": no zip

    config.mem_every = 5
    config.max_memory_frames = 0  # 0: no bound
    config.size = 0  # shorter side of what the network sees, in pixels; 0: as the frames are
    config.scales = (1.0,)  # factors on that; of several, probabilities are averaged at the size of the frames
    config.flip = False  # average with the mirrored frames, too
    config.objects_per_batch = 0  # 0: 1 on a CPU, else 4
    config.dtype = ""  # compute dtype; "": that of the checkpoint
    config.save_scores = False  # also write scores/SEQUENCE/FRAME.npz: probs, float16 [K+1,H,W], and ids, [K+1]
    config.fps = 0.0  # of the movies; 0: that of the video, 10 for folders
    config.paper = paper("DAVIS-2016 val", 20, {"J&F": 0.908, "J&F without YouTube-VOS": 0.894}, seconds_per_frame=0.10)
    return config.lock()


def paper(benchmark: str, sequences: int, figures: dict[str, float], **more: float) -> ConfigDict:
    """What the paper says of a benchmark, for the report: shown beside what was measured, never used for anything else."""
    return ConfigDict({"benchmark": benchmark, "sequences": sequences, "figures": figures, **more})
