"""The bundled clip, 40 frames of 426x240 in which two koi swim in a pond; what `make demo` runs.

    python evaluate.py --config configs/demo.py --data data/sample --checkpoint WEIGHTS --output RUN --overlays --movie gif

WEIGHTS is hmmn_jax/weights/tiny.safetensors, a small model that comes with the code.

Expected (measured): J&F 0.294. The red koi is followed, the golden one is lost: the model is a first version, see docs/tiny.md.
Cost: 20 seconds on two cores beside other work, half of it compilation.
"""

from ml_collections import ConfigDict

from configs import davis2016_val


def get_config() -> ConfigDict:
    """As DAVIS-2017, of which the paper's figures say nothing here."""
    config = davis2016_val.get_config()
    config.year = "2017"
    config.single_object = False
    config.size = 0  # as the frames are
    config.unlock()
    config.paper = ConfigDict()
    return config.lock()
