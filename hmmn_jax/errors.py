"""Errors that a user can act on: one line that names the file, what was found, what was expected and the way out."""


class HMMNError(Exception):
    """A mistake of the user's or of the world's, told in one line; scripts print it and exit with `exit_code`."""

    exit_code = 2


class CheckpointError(HMMNError):
    """A checkpoint that cannot be read or written."""


class MismatchError(CheckpointError):
    """Tensors that are not those of the model: missing, surplus or of another shape."""

    exit_code = 1


class DataError(HMMNError):
    """A file or folder of data that is not what it should be."""


class ConfigError(HMMNError):
    """A setting that cannot work, alone or together with others."""


class DivergedError(HMMNError):
    """Training whose loss is no number any more, or has grown beyond all bounds."""

    exit_code = 3
