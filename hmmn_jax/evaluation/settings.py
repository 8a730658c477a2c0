"""Validates the fields of an evaluation's config before anything is read or written."""

import math

from ml_collections import ConfigDict

from hmmn_jax.datasets.order import ORDERS
from hmmn_jax.errors import ConfigError
from hmmn_jax.evaluation.protocols import registered
from hmmn_jax.io.files import check_name
from hmmn_jax.io.images import MASK_VALUES
from hmmn_jax.ops.precision import has_float64
from hmmn_jax.session.propagation import DIRECTIONS

DTYPES = ("", "bfloat16", "float32", "float64")
LARGEST_SIDE = 16_384  # maximum shorter side of the network's input, in pixels


_FIELDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("protocol", "year", "split", "resolution", "annotations", "submission"), str),
    **dict.fromkeys(("order", "mask_values", "dtype", "direction"), str),
    **dict.fromkeys(("late_objects", "single_object", "flip", "save_probabilities"), bool),
    **dict.fromkeys(("mem_every", "max_memory_frames", "objects_per_batch", "size"), int),
    **dict.fromkeys(("sequences", "scales"), (tuple, list)),
    "fps": (int, float),
    "paper": ConfigDict,
}


def check_settings(config: ConfigDict) -> None:
    """Raises ConfigError for an invalid field, and DataError for an invalid sequence name.

    The error states the field, its value and the expected values.
    """
    for name, kind in _FIELDS.items():
        if name not in config:
            raise ConfigError(f"config.{name} is missing. Start from an evaluation config, such as configs/evaluate/custom.py.")
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(config[name], kinds) or (isinstance(config[name], bool) and bool not in kinds):
            raise ConfigError(f"config.{name} is {config[name]!r}, expected {' or '.join(k.__name__ for k in kinds)}")

    def require(condition: bool, name: str, expected: str) -> None:
        if not condition:
            raise ConfigError(f"config.{name} is {config[name]!r}, expected {expected}")

    require(config.protocol in registered(), "protocol", f"one of {', '.join(registered())}")
    require(config.dtype in DTYPES, "dtype", 'bfloat16, float32, float64 or "" for the dtype of the checkpoint')
    x64 = config.dtype != "float64" or has_float64()
    require(x64, "dtype", "another dtype, because JAX supports float64 only if JAX_ENABLE_X64=1 is set")
    require(config.order in ("", *ORDERS), "order", f"one of {', '.join(ORDERS)}")
    require(config.mask_values in ("", *MASK_VALUES), "mask_values", f"one of {', '.join(MASK_VALUES)}")
    require(config.direction in ("", *DIRECTIONS), "direction", f"one of {', '.join(DIRECTIONS)}")
    if config.direction:
        require(
            config.protocol == "custom",
            "direction",
            '"", because a benchmark defines the given masks. Use the protocol custom for your own videos.',
        )
        require(len(config.scales) == 1 and not config.flip, "direction", '"" if several scales or flip are set')
    require(config.mem_every >= 1, "mem_every", "1 or more frames")
    for name in ("max_memory_frames", "objects_per_batch"):
        require(config[name] >= 0, name, "0 for the default, or 1 or more")
    require(config.size == 0 or 16 <= config.size <= LARGEST_SIDE, "size", f"0, or 16 to {LARGEST_SIDE} pixels")
    scales = tuple(config.scales)
    known = all(isinstance(scale, int | float) and 0.01 <= scale <= 100 for scale in scales)
    require(bool(scales) and known, "scales", "factors from 0.01 to 100, such as (0.75, 1.0)")
    require(config.fps == 0 or (math.isfinite(config.fps) and 0.01 <= config.fps <= 1000), "fps", "0, or 0.01 to 1000")
    for name in config.sequences:
        if not isinstance(name, str):
            require(False, "sequences", "names, such as ('bear', 'camel')")
        check_name(name, "config.sequences")
    for name in ("year", "split", "resolution", "annotations"):
        require("\0" not in config[name], name, "a name without null characters")
    _check_member(config)


def _check_member(config: ConfigDict) -> None:
    """Raises ConfigError unless the names in the archive are unique relative paths."""
    member = config.submission
    if not member:
        return
    mask_files = registered()[config.protocol].mask_files
    files = [file for sequence in "ab" for frame in "cd" for file in mask_files.of_frame(sequence, frame, (1, 2))]
    try:
        names = {member.format(**file.fields) for file in files}
    except (LookupError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"config.submission is {member!r} ({error}), expected a pattern such as {{sequence}}/{{frame}}.png"
        ) from error
    if len(names) < len(files) or any(name.startswith("/") or ".." in name.split("/") for name in names):
        raise ConfigError(f"config.submission is {member!r}, expected a pattern such as {{sequence}}/{{frame}}.png")
