"""Helpers for the steps of benchmarks/accelerator.py: timing, memory, random models and pictures."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hmmn_jax import HMMNConfig, Segmenter
from hmmn_jax.inference import State
from hmmn_jax.model import abstract_variables

MIB = 2**20
Figures = dict[str, Any]


class Compiling:
    """Measures the seconds that XLA spends on compilation after this object is created."""

    def __init__(self) -> None:
        self.seconds = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            self.seconds += duration_secs


def timed(function: Callable[..., Any], *arguments: Any, runs: int) -> Figures:
    """Compiles a function and measures the time of consecutive calls."""
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    compile_s = time.perf_counter() - start
    jax.block_until_ready(compiled(*arguments))
    start = time.perf_counter()
    for _ in range(runs):
        result = compiled(*arguments)
    jax.block_until_ready(result)
    return {"ms": 1000 * (time.perf_counter() - start) / runs, "compile_s": compile_s} | memory(compiled)


def memory(compiled: jax.stages.Compiled) -> Figures:
    """Returns the memory in MiB that a compiled program needs for temporaries."""
    found = compiled.memory_analysis()
    return {} if found is None else {"temporaries_mib": found.temp_size_in_bytes / MIB}


def peak_gib() -> float | None:
    """Returns the peak device memory of this process so far in GiB, or None if unknown."""
    peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return None if peak is None else peak / 2**30


def noise(shape: tuple[int, ...], dtype: str = "float32") -> jax.Array:
    """Returns uniform random numbers in [0, 1)."""
    return jax.random.uniform(jax.random.key(0), shape).astype(dtype)


def random_variables(config: HMMNConfig) -> Any:
    """Returns random model variables, scaled so that activations stay in a normal range."""
    rng = np.random.default_rng(0)

    def draw(leaf: Any) -> np.ndarray:
        if len(leaf.shape) == 4:
            return rng.standard_normal(leaf.shape, np.float32) * np.float32(np.sqrt(2 / np.prod(leaf.shape[:3])))
        return np.ones(leaf.shape, leaf.dtype)

    return jax.tree.map(draw, abstract_variables(config))


def picture_and_mask(size: tuple[int, int], objects: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns a picture of random noise, and a mask with one rectangle per object."""
    height, width = size
    mask = np.zeros(size, np.uint8)
    for k in range(objects):
        left = (k + 1) * width // (objects + 2)
        mask[height // 4 : height // 2, left : left + max(width // (objects + 4), 1)] = k + 1
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8), mask


def capacity(count: int) -> int:
    """Returns the number of slots in a bank that has grown to `count` memory frames."""
    slots = 8
    while slots < count:
        slots *= 2
    return slots


def remembering(segmenter: Segmenter, state: State, picture: np.ndarray, count: int) -> State:
    """Returns a state with `count` memory frames, including the previous frame, and a bank of `capacity(count)` slots."""
    while state.groups[0].bank is None or int(state.groups[0].kept) < 1:
        state, _ = segmenter.step(state, picture, donate=True)
    groups = []
    for group in state.groups:
        bank = group.bank
        assert bank is not None  # `step` has created the bank
        times = capacity(count) // bank.capacity
        key, value, centres = (
            jnp.tile(x, (1, 1, times, *(1,) * (x.ndim - 3))) for x in (bank.key_s16, bank.value_s16, bank.centres)
        )
        groups.append(group.replace(bank=bank.replace(key_s16=key, value_s16=value, centres=centres), kept=count - 1))
    return state.replace(groups=tuple(groups))
