"""Rendered clips of moving shapes: needs no data.

    python -m data.preview --config configs/moving_shapes.py --out preview.png
"""

from ml_collections import ConfigDict

from configs import data


def get_config() -> ConfigDict:
    """Textured shapes that move, turn, grow and cover each other."""
    config = ConfigDict()
    config.data = data.moving_shapes()
    return config.lock()
