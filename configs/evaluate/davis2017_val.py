"""DAVIS-2017 validation: 30 sequences, 1 to 5 objects each.

    python evaluate.py --config configs/evaluate/davis2017_val.py --data DAVIS --checkpoint OUT --output RUN

Paper (quoted, not measured here): J&F 84.7 with YouTube-VOS in training, 80.4 without.
"""

from ml_collections import ConfigDict

from configs.evaluate.base import base, paper


def get_config() -> ConfigDict:
    """Every object counts the same."""
    config = base()
    config.paper = paper("DAVIS-2017 val", 30, {"J&F": 0.847, "J&F without YouTube-VOS": 0.804})
    return config.lock()
