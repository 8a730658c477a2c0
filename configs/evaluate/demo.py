"""The bundled clip, 40 frames of 426x240 in which two koi swim in a pond; what `make demo` runs.

    python evaluate.py --config configs/evaluate/demo.py --data data/sample --checkpoint WEIGHTS --output RUN \
      --overlays --movie gif

WEIGHTS is hmmn_jax/weights/tiny.safetensors, a small model that comes with the code.

Expected (measured): J&F 0.611. The red koi is followed to the end, the golden one until it swims under the red one, and found
again when it comes out from under the lily pad. With every fifth frame remembered, as elsewhere, 0.533. See docs/tiny.md.
Cost: 15 seconds on two cores, half of it compilation.
"""

from ml_collections import ConfigDict

from configs.evaluate.base import base


def get_config() -> ConfigDict:
    """As DAVIS-2017."""
    config = base()
    config.mem_every = 1  # the clip is short, and much changes from frame to frame
    return config.lock()
