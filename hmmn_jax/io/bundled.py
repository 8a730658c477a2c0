"""Paths of the files that are bundled with the package."""

from pathlib import Path

_HOME = Path(__file__).parents[1]

DEMO_CLIP = _HOME / "demo_clip"  # 40 frames of two koi, in the layout of DAVIS-2017

# The bundled models, by the name that `load_checkpoint` accepts. hmmn_jax/weights/LICENSE.md contains the licence terms.
WEIGHTS = {"lite": _HOME / "weights" / "lite.safetensors"}
DEFAULT_WEIGHTS = "lite"  # the default value of --checkpoint
TERMS = (
    "for research only. Some of the training data is under CC BY-NC or has no stated licence. See hmmn_jax/weights/LICENSE.md"
)
