"""YouTube-VOS 2018 validation: 474 videos. Objects may first appear in later frames. The server scores every fifth frame.

    python evaluate.py --config configs/evaluate/youtube_vos_2018.py --data YOUTUBE_VOS --checkpoint OUT --output RUN

YOUTUBE_VOS is the folder of one release. The folder contains valid, with meta.json, JPEGImages and Annotations, and
valid_all_frames. The program segments every frame in valid_all_frames if this folder exists, and otherwise every frame in
valid. Masks and RUN/submission.zip (Annotations/VIDEO/FRAME.png) are written for the frames that meta.json lists. An object
starts at its first mask, in which 0 means "no label".

The paper reports an overall score of 82.6 (not measured here). J is 82.1 for seen classes and 76.8 for unseen classes.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Follows the protocol of YouTube-VOS, without resizing the frames."""
    return benchmark_settings("youtube_vos_2018")
