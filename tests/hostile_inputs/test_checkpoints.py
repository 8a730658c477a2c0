"""Tests that randomly damaged checkpoints are either read, or rejected with a short message."""

import shutil
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from hmmn_jax.checkpoints.store import METADATA_KEY, config_to_json, load_checkpoint, save_checkpoint
from hmmn_jax.checkpoints.torch_file import write_torch_file
from hmmn_jax.checkpoints.torch_weights import to_torch
from hmmn_jax.errors import HMMNError
from tests.hostile_inputs.commands import EXAMPLES, campaign, snapshot
from tests.hostile_inputs.files import damage
from tests.small import TINY, variables


@pytest.fixture(scope="module")
def checkpoint_files(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    write_torch_file(root / "x.safetensors", to_torch(variables(TINY), TINY), {METADATA_KEY: config_to_json(TINY)})
    save_checkpoint(root / "folder", variables(TINY), TINY)
    return root


def load_or_refuse(path: Path, root: Path) -> None:
    before = snapshot(root)
    try:
        load_checkpoint(path)
    except HMMNError as error:
        event("refused")
        assert len(str(error).splitlines()) <= 12 and str(root) in str(error)
    assert snapshot(root) == before


@campaign
@given(data=st.data())
def test_checkpoint_files(world, checkpoint_files, data):
    root = world()
    (root / "x.safetensors").write_bytes(data.draw(damage((checkpoint_files / "x.safetensors").read_bytes(), often=True)))
    load_or_refuse(root / "x.safetensors", root)


@settings(campaign, max_examples=max(EXAMPLES // 6, 1))  # each example takes a second
@given(data=st.data())
def test_checkpoint_folders(world, checkpoint_files, data):
    """One file in the checkpoint folder is damaged, or replaced by another file of the folder."""
    root = world()
    shutil.copytree(checkpoint_files / "folder", root / "folder")
    members = sorted(path for path in (root / "folder").rglob("*") if path.is_file())
    member, other = (data.draw(st.sampled_from(members)) for _ in range(2))
    member.write_bytes(data.draw(damage(data.draw(st.sampled_from([member, other])).read_bytes(), often=True)))
    load_or_refuse(root / "folder", root)
