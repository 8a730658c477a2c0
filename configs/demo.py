"""The bundled clip: 24 frames of 336x192 with two objects that cross; what `make demo` runs.

    python evaluate.py --config configs/demo.py --data data/sample --output runs/demo --overlays --movie gif

No trained weights are bundled yet, so without --checkpoint a small model with random weights is used: the masks mean
nothing, but every step is the real one. About 20 seconds on two cores, most of it compilation.
"""

from ml_collections import ConfigDict

from configs import davis2016_val


def get_config() -> ConfigDict:
    """As DAVIS-2017, with a small model for when there is no checkpoint."""
    config = davis2016_val.get_config()
    config.unlock()
    config.year = "2017"
    config.single_object = False
    config.paper = ConfigDict()  # it says nothing of this clip
    config.untrained = ConfigDict(
        {
            "stem_width": 16,
            "blocks": (1, 1, 1),
            "widths": (32, 64, 64),
            "key_dim_s16": 16,
            "key_dim_s8": 16,
            "key_dim_s4": 8,
            "value_dim_s16": 32,
            "value_dim_s8": 16,
            "value_dim_s4": 8,
            "decoder_dim": 32,
        }
    )
    return config.lock()
