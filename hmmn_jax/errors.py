"""Exceptions for errors that users can correct.

Each message is one line: the file, what was found, what was expected, and how to fix the error.
"""

from collections.abc import Sequence

SHOWN = 10  # maximum number of details that an error lists; further details are counted


class HMMNError(Exception):
    """Base class for errors that a user can fix. Programs print the message and exit with `exit_code`.

    Args:
        message: one line.
        details: individual problems, such as missing tensors. The first ten problems are printed, one per line, followed by the
            number of further problems.
    """

    exit_code = 2

    def __init__(self, message: str, details: Sequence[str] = ()):
        lines = [message, *details[:SHOWN]]
        if len(details) > SHOWN:
            lines.append(f"... and {len(details) - SHOWN} more")
        super().__init__("\n  ".join(map(one_line, lines)))


class PartialFailure(HMMNError):
    """Some videos failed. The results of all other videos are complete."""

    exit_code = 1


class CheckpointError(HMMNError):
    """A checkpoint that cannot be read or written."""


class MismatchError(CheckpointError):
    """Tensors do not match the model: tensors are missing, unexpected or of the wrong shape."""


class DataError(HMMNError):
    """Data that is missing or invalid, or that cannot be read or written."""


class ConfigError(HMMNError):
    """A setting that is invalid on its own or in combination with other settings."""


class DivergedError(HMMNError):
    """Training diverged: a metric is not finite, or the mean loss exceeds `stop_above`."""

    exit_code = 3


def one_line(text: str) -> str:
    """Escapes non-printable characters, such as line breaks in file names."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
