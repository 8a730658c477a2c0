import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from configs.train import data
from data.clips import make_batches, pipeline
from hmmn_jax.errors import DataError
from tests.data import made

BATCH = 8


def make_sources():
    """Returns in-memory data sets by name."""
    return {
        "videos": made.MadeSource("videos", videos=5, frames=12, step=5),
        "stills": made.MadeSource("stills", videos=6, frames=1, size=(80, 96)),
        "mostly_empty": made.MadeSource("mostly_empty", videos=8, frames=4, empty=(0, 1, 2, 4, 5, 6)),
        "short": made.MadeSource("short", videos=3, frames=2),
    }


@pytest.fixture(autouse=True)
def sources(monkeypatch):
    there = make_sources()
    monkeypatch.setattr(pipeline, "open_source", lambda name, data_dir, split, stage=None: there[name])
    return there


def mixture():
    config = made.still_config(a=data.source("videos", still=False), b=data.source("stills", still=True))
    config.max_skip = ((0, 0), (8000, 10))
    config.hide.probability = 0.1
    config.affine.clip = config.affine.frame
    return config


def digests(batches):
    """Returns a digest of each array of each sample. If a comparison fails, the keys show which arrays differ."""
    return {
        f"{sample} {key}": hashlib.sha256(np.ascontiguousarray(value[place]).tobytes()).hexdigest()
        for batch in batches
        for place, sample in enumerate(batch["sample"].tolist())
        for key, value in batch.items()
    }


def digests_at_1000():
    return digests(make_batches(mixture(), batch=BATCH, first_step=1000, steps=2))


def print_digests_at_1000():
    """Prints the digests as JSON. A test runs this function in a separate process."""
    there = make_sources()
    pipeline.open_source = lambda name, data_dir, split, stage=None: there[name]
    print(json.dumps(digests_at_1000()))


def test_a_sample_is_a_function_of_its_number_alone():
    reference = list(make_batches(mixture(), batch=BATCH, first_step=999, steps=3))
    assert reference[1]["sample"].tolist() == list(range(8000, 8008))
    assert {len(set(numbers)) for numbers in reference[1]["numbers"].tolist()} == {1, 3}  # 1 frame per still, 3 per video

    alone = mixture()
    alone.workers = 1
    resumed = list(make_batches(alone, batch=BATCH, first_step=1000, steps=2))
    assert digests(resumed) == digests(reference[1:])

    for step, part in enumerate(make_batches(mixture(), batch=BATCH, first_step=1000, host=3, hosts=8, steps=2)):
        whole = reference[1 + step]
        for key, value in part.items():
            np.testing.assert_array_equal(value, whole[key][3:4], err_msg=key)


@pytest.mark.slow
def test_samples_are_the_same_in_other_processes():
    expected = digests_at_1000()
    code = "from tests.data import test_clips_pipeline; test_clips_pipeline.print_digests_at_1000()"
    for onednn in "01":  # oneDNN off and on, because earlier tests may have changed the setting in this process
        environment = {**os.environ, "PYTHONPATH": ".", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": onednn}
        said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment).stdout
        assert json.loads(said.splitlines()[-1]) == expected


def test_so_many_distinct_clips_come_repeatedly():
    config = mixture()
    config.distinct = 3
    first, second = make_batches(config, batch=3, first_step=0, steps=2)
    assert [*first["sample"], *second["sample"]] == list(range(6))  # sample numbers do not repeat
    for key in first.keys() - {"sample"}:
        np.testing.assert_array_equal(first[key], second[key])


def test_clips_are_what_the_contract_says():
    config = mixture()
    config.max_objects = 3
    for batch in make_batches(config, batch=BATCH, first_step=1000, steps=4):
        assert batch["frames"].shape == (BATCH, 3, *config.size, 3)
        assert batch["frames"].dtype == batch["masks"].dtype == np.uint8
        for masks, valid in zip(batch["masks"], batch["valid"], strict=True):
            count = valid.sum()
            assert valid.tolist() == [True] * count + [False] * (3 - count)
            areas = np.bincount(masks[0].ravel(), minlength=4)[1:]
            assert (areas[:count] >= config.min_area).all()
            assert masks.max() <= count
            assert count > 0


def test_another_seed_gives_other_clips():
    other = mixture()
    other.seed = 1
    first, second = (next(make_batches(config, batch=2, first_step=0)) for config in (mixture(), other))
    assert not np.array_equal(first["frames"], second["frames"])


def test_clips_without_objects_are_drawn_again():
    sets = {"a": data.source("mostly_empty", still=False)}
    config = made.small(data.videos(sets, ((0, 0),)))
    config.min_area = 150  # in many samples, all objects of the clip that is chosen first are too small
    with pytest.warns(UserWarning, match="mostly_empty: only 2 of 8 videos contain at least 3 annotated frames and an object"):
        batches = list(make_batches(config, batch=40, first_step=0, steps=2))
    for batch in batches:
        assert batch["valid"][:, 0].all()
        assert (batch["masks"][:, 0] > 0).any(axis=(1, 2)).all()


def test_a_set_that_never_gives_an_object_is_named():
    config = mixture()
    config.copy_paste.probability = 0.0
    config.min_area = 64 * 80 + 1
    with pytest.raises(DataError, match=r"set [ab]: 100 random clips contained no object of at least 5121 pixels"):
        next(make_batches(config, batch=2, first_step=0))


def test_videos_too_short_for_a_clip_are_left_out():
    with pytest.raises(DataError, match="short: none of 3 videos contain at least 3 annotated frames"):
        next(make_batches(made.video_config(a=data.source("short", still=False)), batch=2, first_step=0))


@pytest.mark.parametrize("part", [0, 1])
def test_a_damaged_file_is_named(sources, part):
    fetch = sources["stills"].fetch

    def damaged(records):
        files = [list(files) for files in fetch(records)]
        files[part] = [file[:40] if record == 2 else file for file, record in zip(files[part], records, strict=True)]
        return files

    sources["stills"].fetch = damaged
    config = made.still_config(b=data.source("stills", still=True))
    with pytest.raises(DataError, match="stills/v2/00000: the image or mask is damaged"):
        list(make_batches(config, batch=8, first_step=0, steps=4))


def test_hosts_must_share_a_batch_evenly():
    with pytest.raises(DataError, match="a batch of 6 clips cannot be divided equally among 4 hosts"):
        make_batches(mixture(), batch=6, first_step=0, hosts=4)
