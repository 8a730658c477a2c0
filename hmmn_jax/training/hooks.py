"""Hooks for your own code in `train_and_evaluate`."""

import numpy as np
from jaxtyping import UInt8

from hmmn_jax.training.train_state import TrainState


class Hook:
    """Called by the first process, in the order of steps; each method does nothing unless overridden.

    An exception ends the run, which can be resumed. A resumed run repeats the steps after its last checkpoint. A method must
    not start a computation over several processes: the others do not take part.
    """

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Receives each line of numbers: those of training every `config.log_every` samples, and those of a validation."""

    def picture(self, step: int, name: str, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """Receives each picture, such as the predictions of a validation."""

    def saved(self, state: TrainState) -> None:
        """Receives each state for which a checkpoint was written. Its arrays are on the devices, and valid only in the call."""
