"""YouTube-VOS 2018 validation set of 474 videos. Objects may first appear in later frames.

    python evaluate.py --config configs/evaluate/youtube_vos_2018.py --data YOUTUBE_VOS --checkpoint OUT --output RUN

YOUTUBE_VOS is the folder of one release. The subfolder valid contains meta.json, JPEGImages and Annotations. The program
segments every frame in the subfolder valid_all_frames if this subfolder exists, and otherwise every frame in valid. Masks are
written for the frames that meta.json lists. RUN/submission.zip contains the masks as Annotations/VIDEO/FRAME.png. The
evaluation server scores every fifth frame. An object starts in the frame of its first mask. In the mask of a later frame, the
value 0 means "no label", not background.

The paper reports an overall score of 82.6 (not measured in this project). In the paper, J is 82.1 for seen classes and 76.8 for
unseen classes.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Returns the settings for YouTube-VOS 2018 validation. Frames are not resized."""
    return benchmark_settings("youtube_vos_2018")
