"""Rules for the fields of a training config. A run checks these rules before it writes any file."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

from ml_collections import ConfigDict

from hmmn_jax.datasets.order import ORDERS
from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.io.files import user_path
from hmmn_jax.io.images import MASK_VALUES
from hmmn_jax.ops.precision import has_float64
from hmmn_jax.training.optimizer import OPTIMIZERS
from hmmn_jax.training.parallel import KINDS
from hmmn_jax.training.schedules import SCHEDULES

_HUGE = 2**31  # default upper bound of integer fields

PATHS = ("init", "resume", "validation.data", "data.data_dir")  # these paths can be local or in a bucket

Rule = tuple[Callable[[Any], bool], str]  # a check of a value, and a description of valid values


def _number(low: float | int, high: float | int = math.inf, *, above: bool = False, below: bool = False) -> Rule:
    """Returns the rule for a finite number from `low` to `high`. `above` excludes `low`, and `below` excludes `high`."""
    if high == math.inf:
        words = f"a number above {low:g}" if above else f"a number of {low:g} or more"
    elif above or below:
        words = f"a number {'above' if above else 'of at least'} {low:g} and {'below' if below else 'at most'} {high:g}"
    else:
        words = f"a number from {low:g} to {high:g}"

    def fits(value: Any) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return number and low <= value <= high and not (above and value == low) and not (below and value == high)

    return fits, words


def _whole(low: int, high: int = _HUGE) -> Rule:
    """Returns the rule for an integer from `low` to `high`."""
    words = f"an integer from {low} to {high}" if high < _HUGE else f"an integer of {low} or more"
    return lambda value: type(value) is int and low <= value <= high, words


def _one_of(names: tuple[str, ...]) -> Rule:
    return lambda value: isinstance(value, str) and value in names, f"one of {', '.join(names)}"


def _several(rule: Rule, count: int | None = None) -> Rule:
    """Returns the rule for a tuple or list of values that satisfy `rule`. `count` is the required length, if any."""
    words = f"a tuple of {count} values, each {rule[1]}" if count else f"a tuple of values, each {rule[1]}"

    def fits(value: Any) -> bool:
        return isinstance(value, tuple | list) and count in (None, len(value)) and all(map(rule[0], value))

    return fits, words


def _ordered(rule: Rule) -> Rule:
    """Returns the rule for a pair of values that satisfy `rule`. The second value must be at least as large as the first."""
    pair = _several(rule, 2)[0]
    return lambda value: pair(value) and value[0] <= value[1], f"two values in ascending order, each {rule[1]}"


def _schedule(rule: Rule) -> Rule:
    """Returns the rule for a schedule ((first sample, value), ...) that starts at sample 0."""

    def fits(value: Any) -> bool:
        if not isinstance(value, tuple | list) or not value:
            return False
        if not all(isinstance(entry, tuple | list) and len(entry) == 2 for entry in value):
            return False
        samples = [sample for sample, _ in value]
        counts = all(map(_whole(0, 2**62)[0], samples))
        return counts and samples[0] == 0 and samples == sorted(samples) and all(rule[0](entry) for _, entry in value)

    return fits, f"((first sample, value), ...) in ascending order, starting at sample 0, each value {rule[1]}"


_TEXT: Rule = (lambda value: isinstance(value, str) and "\0" not in value, "a string")
_SWITCH: Rule = (lambda value: isinstance(value, bool), "True or False")
_SHARE = _number(0, 1)
_JITTER = {"brightness": _SHARE, "contrast": _SHARE, "saturation": _SHARE, "hue": _number(0, 0.5)}
_AFFINE = {"rotation": _number(0, 360), "shear": _number(0, 90, below=True), "zoom": _ordered(_number(0, 100, above=True))}

RULES: dict[str, Any] = {
    "seed": _whole(0, 2**31 - 1),
    "samples": _whole(1, 2**40),
    "batch": _whole(1, 2**20),
    "micro_batches": _whole(1, 2**20),
    "parallel": _one_of(("", *KINDS)),
    "devices": _whole(0),
    "slots": _several(_whole(1, 255)),
    "deterministic": _SWITCH,
    "optimizer": {
        "name": _one_of(OPTIMIZERS),
        "clip_norm": _number(0),
        "weight_decay": _number(0),
        "?b1": _number(0, 1, below=True),
        "?b2": _number(0, 1, below=True),
        "?eps": _number(0, above=True),
        "?parts": {"*": _number(0)},
    },
    "learning_rate": {
        "schedule": _one_of(SCHEDULES),
        "peak": _number(0),
        "for_batch": _whole(0, 2**20),
        "warmup": _whole(0, 2**40),
        "power": _number(0, above=True),
        "boundaries": _several(_number(0, 1, above=True, below=True)),
        "factor": _number(0),
        "end": _number(0),
    },
    "hardest": {"share": _number(0, 1, above=True), "start": _whole(0, 2**40), "end": _whole(0, 2**40)},
    "dropout": _SHARE,
    "ema_decay": _number(0, 1, below=True),
    "init": _TEXT,
    "resume": _TEXT,
    "log_every": _whole(1),
    "stop_above": (
        lambda value: isinstance(value, int | float) and value > 0,
        "a number above 0, or inf for no limit",
    ),
    "checkpoint": {"every": _whole(1), "keep": _whole(1), "keep_best": _whole(0)},
    "validation": {
        "data": _TEXT,
        "every": _whole(1),
        "protocol": _one_of(("davis", "custom")),
        **dict.fromkeys(("year", "split", "resolution", "annotations"), _TEXT),
        "sequences": _several(_TEXT),
        "late_objects": _SWITCH,
        "single_object": _SWITCH,
        "order": _one_of(("", *ORDERS)),
        "mask_values": _one_of(("", *MASK_VALUES)),
        "size": (lambda value: type(value) is int and (value == 0 or 16 <= value <= 2**14), "0, or 16 to 16384 pixels"),
        "mem_every": _whole(1),
    },
    "profile": _TEXT,
    "model": {},  # `HMMNConfig` checks its own fields
    "data": {
        "sets": {
            "*": {"name": _TEXT, "split": _TEXT, "still": _SWITCH, "repeat": _schedule(_number(0)), "?donors": _number(0)}
        },
        "data_dir": _TEXT,
        "seed": _whole(0, 2**31 - 1),
        "distinct": _whole(0),
        "workers": _whole(0, 4096),
        "frames": _whole(2, 64),
        "size": _several(_whole(1, 2**14), 2),
        "max_objects": _whole(1, 255),
        "min_area": _whole(0),
        "max_skip": _schedule(_whole(0, 2**20)),
        "resize": _whole(1, 2**14),
        "wander": _SHARE,
        "reverse": _SHARE,
        "flip": _SHARE,
        "grey": _SHARE,
        "fill": _several(_whole(0, 255), 3),
        "affine": {"clip": _AFFINE, "frame": _AFFINE},
        "colour": {"clip": _JITTER, "frame": _JITTER},
        "copy_paste": {
            "probability": _SHARE,
            "objects": _ordered(_whole(0, 64)),
            "donor_share": _ordered(_SHARE),
            "size": _ordered(_number(0, 10, above=True)),
            "zoom_limit": _number(0, 100, above=True),
            "moving": _SWITCH,
            "twins": _SHARE,
            "drift": _number(0, 10),
            "affine": _AFFINE,
        },
        "hide": {"probability": _SHARE, "grid": _several(_whole(1, 4096), 2)},
    },
}


def require_settings(config: ConfigDict) -> None:
    """Checks each field separately. Combinations of fields are checked where the fields are used.

    Raises:
      ConfigError: a field is missing or has an invalid value. The message names the first missing or invalid field.
    """
    for name, value, (fits, expected) in _fields(config, RULES, "config."):
        if not fits(value):
            raise ConfigError(f"{name} is {value!r}, expected {expected}")
    for name in PATHS:
        try:
            user_path(functools.reduce(getattr, name.split("."), config), buckets=True)
        except DataError as error:
            raise ConfigError(f"config.{name}: {error}") from error
    if config.model.get("dtype") == "float64" and not has_float64():
        raise ConfigError("config.model.dtype is 'float64', which JAX only supports if JAX_ENABLE_X64=1 is set")


def _fields(config: Any, rules: dict[str, Any], path: str) -> Iterator[tuple[str, Any, Rule]]:
    """Yields the name, value and rule of each field. Raises ConfigError for a missing field or an unknown optimizer field.

    In `rules`, "?" before a name marks an optional field, and "*" matches any name.
    """
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"{path[:-1]} is {config!r}, expected a section with fields")
    if path == "config.optimizer." and (surplus := sorted(set(config) - {name.removeprefix("?") for name in rules})):
        raise ConfigError(f"{path}{surplus[0]} is unknown, expected one of {', '.join(rules).replace('?', '')}")
    for name in config.keys() if "*" in rules else [name.removeprefix("?") for name in rules]:
        rule: Any = rules.get(name, rules.get(f"?{name}", rules.get("*")))
        if name in config and isinstance(rule, dict):
            yield from _fields(config[name], rule, f"{path}{name}.")
        elif name in config:
            yield f"{path}{name}", config[name], rule
        elif name in rules:
            raise ConfigError(f"{path}{name} is missing. Start your config from configs.train.base.base().")
