"""Main training on many devices: as `configs/train/main.py`, in bfloat16 and under jit, with 64 clips per step.

    python train.py --config configs/train/main_pod.py --workdir RUN2 --config.init=RUN1 --distributed \
      --config.data.data_dir=DATA --config.validation.data=DAVIS

RUN1, DATA and DAVIS as in `configs/train/main.py`; all processes have to see them. 64 clips need 8, 16, 32 or 64 devices:
set --config.batch for other numbers. docs/clusters.md has the commands for Slurm, TPU pods and Kubernetes.

Expected: not measured. The learning rate follows the rule in docs/clusters.md, which was not measured with this model.
Cost: docs/scaling.md has what the TPU compiler predicts.
"""

from ml_collections import ConfigDict

from configs.train import main


def get_config() -> ConfigDict:
    """The second stage of the paper, for a pod."""
    config = main.get_config()
    config.unlock()
    config.model.dtype = "bfloat16"
    config.parallel = "jit"
    config.batch = 64
    config.slots = (1, 2, 3)
    config.learning_rate.for_batch = 4
    config.learning_rate.warmup = 8000
    return config.lock()
