"""Caches compiled programs in the user's cache folder for later runs."""

import os

from hmmn_jax.io.buckets import absolute
from hmmn_jax.io.files import user_path
from hmmn_jax.io.program_folder import own_folder

OFF = "off"
MOST_BYTES = 2**30  # maximum total size; the least recently used programs are deleted first


def keep_programs(given: str | None, alone: bool) -> None:
    """Sets up JAX's persistent compilation cache.

    Args:
        given: a folder, "off" for no cache, or None for the default folder. The default is JAX_COMPILATION_CACHE_DIR if this
            variable is set, and otherwise a folder in the user's cache folder.
        alone: whether this is the only process. Several processes use a cache only if a folder is given or
            JAX_COMPILATION_CACHE_DIR is set.
    """
    import jax  # not imported earlier, because importing JAX takes a second and invalid flags should be reported first

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
