"""The bundled clip: 40 frames of 426x240 with two koi in a pond.

    python evaluate.py --config configs/evaluate/demo.py --data hmmn_jax/demo_clip --checkpoint lite --output RUN \
      --overlays --movie gif

`make demo` and `hmmn-jax demo` run the same evaluation of the bundled clip. "lite" is the small bundled model.

The measured J&F is 0.857 (see docs/lite.md). The evaluation takes 15 seconds on two cores, half of which is compilation.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Scores like DAVIS-2017."""
    return benchmark_settings("demo")
