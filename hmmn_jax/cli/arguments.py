"""An argument parser that reports invalid arguments in one-line messages.

This module does not import JAX or NumPy, so that `--help` and error messages appear quickly.
"""

import argparse
import ast
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from hmmn_jax.errors import ConfigError

OVERRIDE, OVERRIDE_OF_SCRIPTS = "--set", "--config."


class ArgumentParser(argparse.ArgumentParser):
    """A parser that raises ConfigError for invalid arguments. Call its methods inside `run_program`, which prints the error."""

    def __init__(self, **options: Any):
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, **options})

    def error(self, message: str) -> NoReturn:
        """Raises ConfigError."""
        raise ConfigError(f"{message}. See {self.prog} --help for the options.")


def local(text: str) -> Path:
    """Converts an argument to a local path, and expands `~`."""
    from hmmn_jax.io.files import user_path

    return user_path(text)


def anywhere(text: str) -> os.PathLike[str]:
    """Converts an argument to a path, either local or in a bucket."""
    from hmmn_jax.io.files import user_path

    return user_path(text, buckets=True)


def parse_list(text: str) -> tuple[str, ...]:
    """Splits comma-separated names and removes duplicates."""
    return tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))


def parse_step(text: str | None) -> int | str | None:
    """Parses a step for `load_checkpoint`. Raises ConfigError if the text is not a valid step."""
    if text in (None, "best"):
        return text
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ConfigError(f"--step is {text!r}, expected a number or 'best'")
    return int(text)


def override(config: Any, assignments: Sequence[str]) -> set[str]:
    """Sets fields of a ConfigDict from NAME=VALUE strings, and returns the names of these fields.

    `check_settings` validates the values later. Raises ConfigError if a string does not have the form NAME=VALUE or its name is
    unknown.
    """
    names = set()
    for text in assignments:
        name, equals, value = text.partition("=")
        settings = [field for field in config if field != "paper"]
        if not equals:
            raise ConfigError(f"{OVERRIDE} {text}: expected NAME=VALUE, such as {OVERRIDE} mem_every=3")
        if name not in settings:
            raise ConfigError(f"{OVERRIDE} {text}: {name!r} is not a setting, expected one of {', '.join(settings)}")
        with config.ignore_type():
            config[name] = _value(value, config[name])
        names.add(name)
    return names


def as_overrides(arguments: Sequence[str]) -> list[str]:
    """Replaces `--config.NAME=VALUE`, the form used in scripts and error messages, with `--set=NAME=VALUE`."""
    return [
        f"{OVERRIDE}={argument.removeprefix(OVERRIDE_OF_SCRIPTS)}" if argument.startswith(OVERRIDE_OF_SCRIPTS) else argument
        for argument in arguments
    ]


def _value(text: str, current: Any) -> Any:
    """Converts a string to the type of the current value if possible. Otherwise, infers the type from the string."""
    if isinstance(current, str):
        return text
    try:
        value = ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        value = tuple(text.split(",")) if isinstance(current, tuple) else text
    return (value,) if isinstance(current, tuple) and not isinstance(value, tuple | list) else value
