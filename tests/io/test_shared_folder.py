"""Tests the check that all processes share one folder."""

import pytest

from hmmn_jax.errors import ConfigError
from hmmn_jax.io import peers
from hmmn_jax.io import shared_folder as module
from hmmn_jax.io.guard import RUN_LOCK, hold_folder
from hmmn_jax.io.shared_folder import require_shared


@pytest.mark.parametrize("boot", ["same", "other"])
def test_a_folder_that_is_another_in_another_process(tmp_path, monkeypatch, boot):
    """Process 1 has another, empty folder with the same name.

    If process 1 runs on another machine, it first waits, because new files may appear late on a network drive.
    """
    waited = []
    monkeypatch.setattr(module.time, "sleep", waited.append)
    monkeypatch.setattr(module, "_SEEN_SECONDS", 0.01)
    with hold_folder(tmp_path / "a", tmp_path / "a" / RUN_LOCK) as guard:
        owner = guard.owner | ({"boot": "other", "host": "elsewhere"} if boot == "other" else {})
        monkeypatch.setattr(peers, "from_first", lambda name, make: owner if name == "owner" else make())
        monkeypatch.setattr(peers, "from_all", lambda name, value: [[True, "one"], value])
        require_shared(tmp_path / "a", None, "--output")
        with pytest.raises(
            ConfigError, match=r"b: process 0 on one and process 1 on .* use different folders .*Pass a --output"
        ):
            require_shared(tmp_path / "b", None, "--output")
    assert bool(waited) == (boot == "other")
    assert not (tmp_path / "b").exists()
