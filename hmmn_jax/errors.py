"""Errors that a user can act on: one line that names the file, what was found, what was expected and the way out."""

from collections.abc import Sequence

SHOWN = 10  # details of an error that are listed; the others are counted


class HMMNError(Exception):
    """A mistake of the user's or of the world's, told in one line; programs print it and exit with `exit_code`.

    Args:
        message: the line.
        details: what it consists of, such as each tensor that is missing; the first ten follow, a line each, and a count.
    """

    exit_code = 2

    def __init__(self, message: str, details: Sequence[str] = ()):
        lines = [message, *details[:SHOWN]]
        if len(details) > SHOWN:
            lines.append(f"... and {len(details) - SHOWN} more")
        super().__init__("\n  ".join(map(one_line, lines)))


class PartialFailure(HMMNError):
    """Some of what was asked for failed; the rest is done."""

    exit_code = 1


class CheckpointError(HMMNError):
    """A checkpoint that cannot be read or written."""


class MismatchError(CheckpointError):
    """Tensors that are not those of the model: missing, surplus or of another shape."""


class DataError(HMMNError):
    """A file or folder of data that is not what it should be."""


class ConfigError(HMMNError):
    """A setting that cannot work, alone or together with others."""


class DivergedError(HMMNError):
    """Training diverged: a metric is not finite, or the mean loss exceeds `stop_above`."""

    exit_code = 3


def one_line(text: str) -> str:
    """Escapes what is not printable, such as a line break in the name of a file."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
