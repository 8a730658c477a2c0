"""YouTube-VOS 2018 validation: 474 videos, objects that join later, every fifth frame scored by the server.

    python evaluate.py --config configs/evaluate/youtube_vos_2018.py --data YOUTUBE_VOS --checkpoint OUT --output RUN

YOUTUBE_VOS is the folder of the year that holds valid (meta.json, JPEGImages, Annotations) and valid_all_frames. Every frame is
segmented, in valid_all_frames if that is there; masks and RUN/submission.zip (Annotations/VIDEO/FRAME.png) have the frames that
meta.json lists. An object joins at its first mask; 0 means "no label" there. Paper (quoted, not measured here): overall 82.6,
J of seen classes 82.1, of unseen ones 76.8.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """The protocol of YouTube-VOS; frames as they are."""
    return benchmark_settings("youtube_vos_2018")
