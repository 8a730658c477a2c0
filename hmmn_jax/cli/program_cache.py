"""Keeps compiled programs in the user's cache folder for later runs."""

import os

from hmmn_jax.io.buckets import absolute
from hmmn_jax.io.files import user_path
from hmmn_jax.io.program_folder import own_folder

OFF = "off"
MOST_BYTES = 2**30  # maximum size of all programs; the least recently used ones are deleted


def keep_programs(given: str | None, alone: bool) -> None:
    """Sets JAX's persistent compilation cache.

    Args:
        given: a folder; "off" for no cache; None for the user's cache folder, unless JAX_COMPILATION_CACHE_DIR is set.
        alone: whether this is the only process. Several processes have no cache unless a folder is given.
    """
    import jax  # importing takes a second; errors in flags are reported before

    if given == OFF:
        jax.config.update("jax_compilation_cache_dir", None)
        return
    if given is not None:
        folder = str(absolute(user_path(given, buckets=True)))
    elif alone and "JAX_COMPILATION_CACHE_DIR" not in os.environ and (own := own_folder()) is not None:
        folder = str(own)
        jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
    else:
        return
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # also cache programs that compile quickly
