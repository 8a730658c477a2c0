"""Hooks that run your own code during `train_and_evaluate`."""

import numpy as np
from jaxtyping import UInt8

from hmmn_jax.training.train_state import TrainState


class Hook:
    """Base class of hooks. The methods are called in the first process, in the order of steps. By default, methods do nothing.

    An exception in a method ends the run. The run can be resumed. A resumed run repeats the steps after its last checkpoint. A
    method must not start a computation on several processes, because hooks run only in the first process.
    """

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Receives the training metrics every `config.log_every` samples, and the metrics of each validation."""

    def picture(self, step: int, name: str, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """Receives a picture, for example the predictions of a validation."""

    def saved(self, state: TrainState) -> None:
        """Receives each state that is saved as a checkpoint. Arrays are on the devices and are valid only during the call."""
