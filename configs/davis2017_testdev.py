"""DAVIS-2017 test-dev: 30 sequences, of which only the first masks are public; the server scores a zip.

    python evaluate.py --config configs/davis2017_testdev.py --data DAVIS --checkpoint OUT --output RUN

Writes RUN/masks and RUN/submission.zip, in which SEQUENCE/FRAME.png of every frame lie at the root. Paper (quoted, not measured
here): J&F 78.6 with YouTube-VOS in training.
"""

from ml_collections import ConfigDict

from configs import davis2016_val, davis2017_val


def get_config() -> ConfigDict:
    """As DAVIS-2017 validation, with the other list and a zip."""
    config = davis2017_val.get_config()
    config.split = "test-dev"
    config.submission = "{sequence}/{frame}.png"
    config.paper = davis2016_val.paper("DAVIS-2017 test-dev", 30, {"J&F": 0.786})
    return config
