"""YouTube-VOS 2018 validation: 474 videos; objects may start on later frames; the server scores every fifth frame.

    python evaluate.py --config configs/evaluate/youtube_vos_2018.py --data YOUTUBE_VOS --checkpoint OUT --output RUN

YOUTUBE_VOS is the folder of a year that contains valid (meta.json, JPEGImages, Annotations) and valid_all_frames. Every frame
is segmented, in valid_all_frames if it exists. Masks and RUN/submission.zip (Annotations/VIDEO/FRAME.png) are written for the
frames that meta.json lists. An object starts at its first mask; 0 in that mask means "no label". Paper (quoted, not measured
here): overall 82.6, J of seen classes 82.1, of unseen ones 76.8.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """The protocol of YouTube-VOS, without resizing frames."""
    return benchmark_settings("youtube_vos_2018")
