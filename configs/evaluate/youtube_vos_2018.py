"""YouTube-VOS 2018 validation: 474 videos, objects that join later, every fifth frame scored by the server.

    python evaluate.py --config configs/evaluate/youtube_vos_2018.py --data YOUTUBE_VOS --checkpoint OUT --output RUN

YOUTUBE_VOS is the folder of the year that holds valid (meta.json, JPEGImages, Annotations) and valid_all_frames. Every frame is
segmented, in valid_all_frames if that is there; masks and RUN/submission.zip (Annotations/VIDEO/FRAME.png) have the frames that
meta.json lists. An object joins at its first mask; 0 means "no label" there. Paper (quoted, not measured here): overall 82.6,
J of seen classes 82.1, of unseen ones 76.8.
"""

from ml_collections import ConfigDict

from configs.evaluate.base import base, paper


def get_config() -> ConfigDict:
    """The protocol of YouTube-VOS; frames as they are."""
    config = base()
    config.protocol = "youtube_vos"
    config.year = "2018"
    config.split = "valid"
    config.late_objects = True
    config.submission = "Annotations/{sequence}/{frame}.png"
    config.paper = paper("YouTube-VOS 2018 valid", 474, {"overall": 0.826, "J seen": 0.821, "J unseen": 0.768})
    return config.lock()
