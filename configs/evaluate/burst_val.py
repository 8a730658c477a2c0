"""BURST validation, exemplar-guided with masks; the result is one JSON file.

    python evaluate.py --config configs/evaluate/burst_val.py --data BURST --checkpoint OUT --output RUN

BURST has annotations/val/first_frame_annotations.json and images/val/DATASET/SEQUENCE/IMAGE. For each track, the mask in the
first frame that shows it is given. Every image is segmented, each track as if it were alone.
RUN/masks/DATASET.SEQUENCE/TRACK/IMAGE.png and RUN/submission.json contain the annotated frames. The evaluator of BURST reads
the latter. Scores (HOTA) are not computed.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Masks in JSON."""
    return benchmark_settings("burst_val")
