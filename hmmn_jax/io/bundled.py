"""Files that come with the package."""

from pathlib import Path

_HOME = Path(__file__).parents[1]

DEMO_CLIP = _HOME / "demo_clip"  # 40 frames of two koi, in the layout of DAVIS-2017

# The models of the package, by the name that `load_checkpoint` takes; hmmn_jax/weights/LICENSE.md has their terms.
WEIGHTS = {"lite": _HOME / "weights" / "lite.safetensors"}
DEFAULT_WEIGHTS = "lite"  # for commands without --checkpoint
TERMS = "for research only: some of their training data are under CC BY-NC or without a licence (hmmn_jax/weights/LICENSE.md)"
