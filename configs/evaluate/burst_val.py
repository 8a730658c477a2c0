"""BURST validation set for the exemplar-guided task with masks. The result is one JSON file.

    python evaluate.py --config configs/evaluate/burst_val.py --data BURST --checkpoint OUT --output RUN

BURST contains annotations/val/first_frame_annotations.json and images/val/DATASET/SEQUENCE/IMAGE. The mask of each track is
given in the first frame that shows the track. Every image is segmented, and each track is segmented independently of the other
tracks. The masks of annotated frames are written to RUN/masks/DATASET.SEQUENCE/TRACK/IMAGE.png and to RUN/submission.json,
which BURST's evaluator reads. HOTA scores are not computed.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Returns the settings for the BURST validation set, whose masks are written as JSON."""
    return benchmark_settings("burst_val")
