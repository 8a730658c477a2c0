"""DAVIS-2017 validation: 30 sequences, 1 to 5 objects each.

    python evaluate.py --config configs/davis2017_val.py --data DAVIS --checkpoint OUT --output RUN

Paper (quoted, not measured here): J&F 84.7 with YouTube-VOS in training, 80.4 without.
"""

from ml_collections import ConfigDict

from configs import davis2016_val


def get_config() -> ConfigDict:
    """As DAVIS-2016, with the other list and every object scored."""
    config = davis2016_val.get_config()
    config.year = "2017"
    config.single_object = False
    config.paper = davis2016_val.paper("DAVIS-2017 val", 30, {"J&F": 0.847, "J&F without YouTube-VOS": 0.804})
    return config
