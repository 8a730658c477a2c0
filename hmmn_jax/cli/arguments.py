"""Command lines of argparse whose mistakes are one line, as those of all programs here are."""

import argparse
from typing import Any, NoReturn

from hmmn_jax.errors import ConfigError


class ArgumentParser(argparse.ArgumentParser):
    """Raises ConfigError for a mistake; to be called inside of `run_program`."""

    def __init__(self, **options: Any):
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, **options})

    def error(self, message: str) -> NoReturn:
        """Raises ConfigError."""
        raise ConfigError(f"{message}; {self.prog} --help lists what there is")
