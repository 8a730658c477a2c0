"""YouTube-VOS 2018 validation: 474 videos. Objects may first appear in later frames. The server scores every fifth frame.

    python evaluate.py --config configs/evaluate/youtube_vos_2018.py --data YOUTUBE_VOS --checkpoint OUT --output RUN

YOUTUBE_VOS is the folder of one year, which contains valid (with meta.json, JPEGImages and Annotations) and valid_all_frames.
Every frame in valid_all_frames is segmented, or every frame in valid if that folder does not exist. Masks and
RUN/submission.zip (Annotations/VIDEO/FRAME.png) are written for the frames that meta.json lists. An object starts at its first
mask, in which 0 means "no label".

Paper (quoted, not measured here): overall 82.6; J of seen classes 82.1, of unseen classes 76.8.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Follows the protocol of YouTube-VOS, without resizing the frames."""
    return benchmark_settings("youtube_vos_2018")
