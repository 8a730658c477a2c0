"""One process at a time writes to a folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.io.folder_lock import lock_folder

HOLD = """
import sys
from pathlib import Path
from pathlib import Path
from hmmn_jax.io.folder_lock import lock_folder
with lock_folder(Path(sys.argv[1]), Path("RUN")):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    path = tmp_path / "record" / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="RUN: another run is writing to it"), lock_folder(path, Path("RUN")):
            pass
        process.kill()
    with lock_folder(path, Path("RUN")):
        pass


def test_a_file_of_that_name_keeps_its_bytes(tmp_path):
    (tmp_path / "lock").write_text("the user's")
    with lock_folder(tmp_path / "lock", tmp_path):
        pass
    assert (tmp_path / "lock").read_text() == "the user's"
    with pytest.raises(DataError, match="cannot be written"), lock_folder(tmp_path / "lock" / "lock", tmp_path):
        pass
