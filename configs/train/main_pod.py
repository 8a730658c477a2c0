"""Main training (`configs/train/main.py`) with `jax.jit` on many devices, in bfloat16 and with 64 clips per step.

    python train.py --config configs/train/main_pod.py --workdir RUN2 --config.init=RUN1 --distributed \
      --config.data.data_dir=DATA --config.validation.data=DAVIS

`configs/train/main.py` describes RUN1, DATA and DAVIS. All processes must be able to read these folders. A batch of 64 clips
can be divided among 8, 16, 32 or 64 devices. For other numbers of devices, set --config.batch. docs/clusters.md lists the
commands for Slurm, TPU pods and Kubernetes.

Expected: J&F is unknown, because it was not measured. The learning rate follows the rule in docs/clusters.md. This rule was
not tested with this model. Cost: docs/scaling.md contains predicted times, based on the TPU compiler.
"""

from ml_collections import ConfigDict

from configs.train import main


def get_config() -> ConfigDict:
    """Returns the config of the second training stage of the paper, for many devices."""
    config = main.get_config()
    config.unlock()
    config.model.dtype = "bfloat16"
    config.parallel = "jit"
    config.batch = 64
    config.slots = (1, 2, 3)
    config.learning_rate.for_batch = 4
    config.learning_rate.warmup = 8000
    return config.lock()
