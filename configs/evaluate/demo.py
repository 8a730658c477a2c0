"""Settings for the bundled clip of two koi in a pond, with 40 frames of 426x240 pixels.

    python evaluate.py --config configs/evaluate/demo.py --data hmmn_jax/demo_clip --checkpoint lite --output RUN \
      --overlays --movie gif

`make demo` and `hmmn-jax demo` run the same evaluation of the bundled clip. "lite" is the small bundled model.

The measured J&F of "lite" on this clip is 0.857 (see docs/lite.md). On two cores, the evaluation takes 15 seconds, and half of
this time is compilation.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Returns the settings for the bundled clip, which is scored with the metrics of DAVIS-2017."""
    return benchmark_settings("demo")
