"""Determines how much memory is free for a model."""

import jax

from hmmn_jax.io.host_memory import free_host_bytes


def free_bytes() -> int | None:
    """Returns the free bytes of the first device, or of the host if this device is a CPU, or None if the number is unknown."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return free_host_bytes()
    statistics = device.memory_stats() or {}
    if not {"bytes_limit", "bytes_in_use"} <= statistics.keys():
        return None
    return statistics["bytes_limit"] - statistics["bytes_in_use"]
