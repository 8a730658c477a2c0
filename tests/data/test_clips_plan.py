import numpy as np
import pytest
import tensorflow as tf

from configs.train import data
from data.clips.draws import Draws
from data.clips.plan import make_plan, set_names
from data.clips.tables import join
from hmmn_jax.errors import DataError
from tests.data.made import MadeSource, video_config

# 99.99 % quantiles of chi-square, by degrees of freedom.
CHI_SQUARE = {1: 15.1, 2: 18.4, 3: 21.1, 4: 23.5, 7: 29.9}


def plans(config, sources, first, count):
    """Returns the stacked plans of the samples `first` to `first + count - 1`, and the joined tables of the data sets."""
    settings = [config.sets[name] for name in sorted(config.sets)]
    tables = join(sources, settings, config.copy_paste.donor_share, config.frames)

    def plan(sample):
        return make_plan(config, tables, sample, Draws(tf.constant(0, tf.int64), sample, tf.constant(0)))

    samples = tf.range(first, first + count, dtype=tf.int64)
    spec = tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), plan(samples[0]))
    stacked = tf.function(lambda s: tf.map_fn(plan, s, fn_output_signature=spec))(samples)
    return tf.nest.map_structure(lambda t: t.numpy(), stacked), tables


def assert_uniform(values, choices):
    counts = np.array([(values == choice).sum() for choice in choices])
    assert counts.sum() == len(values), set(values) - set(choices)
    expected = len(values) / len(choices)
    assert ((counts - expected) ** 2 / expected).sum() < CHI_SQUARE[len(choices) - 1], counts


@pytest.mark.parametrize(("first", "skips"), [(0, [0]), (9_000, [0]), (10_000, [0, 3, 6]), (19_000, [0, 3, 6]),
                                              (50_000, [0, 3, 6, 9, 12])])  # fmt: skip
def test_skips_are_uniform_within_the_curriculum(first, skips):
    """The data set contains every third frame of its videos, so gaps are 1 to 1 + skip // 3 stored frames."""
    config = video_config(made=data.source("made", still=False))
    config.max_skip = ((0, 0), (10_000, 8), (20_000, 14))
    found, _ = plans(config, [MadeSource(videos=3, frames=40, step=3)], first, 1000)
    gaps = np.diff(found.numbers, axis=1)
    for gap in gaps.T:
        skipped = gap - 3
        if len(skips) > 1:
            assert_uniform(skipped, skips)
        else:
            assert set(skipped) == set(skips)
    if len(skips) > 1:
        assert abs(np.corrcoef(gaps.T)[0, 1]) < 0.15


def test_short_videos_give_the_longest_skips_that_fit():
    config = video_config(made=data.source("made", still=False))
    config.max_skip = ((0, 25),)
    found, _ = plans(config, [MadeSource(videos=2, frames=8)], 0, 600)
    assert set(np.diff(found.numbers, axis=1).ravel()) == {1, 2, 3}
    assert found.numbers.min() == 0
    assert found.numbers.max() == 7


def test_backwards_clips():
    config = video_config(made=data.source("made", still=False))
    config.reverse = 0.5
    found, _ = plans(config, [MadeSource()], 0, 400)
    backwards = (np.diff(found.numbers, axis=1) < 0).all(axis=1)
    forwards = (np.diff(found.numbers, axis=1) > 0).all(axis=1)
    assert (backwards | forwards).all()
    assert abs(backwards.mean() - 0.5) < 0.1


def test_videos_are_drawn_in_proportion_to_their_repeats():
    """Each of 3 stills has weight 2. Each of 4 videos has weight 0.5 before sample 1000, and weight 3 from sample 1000 on."""
    sets = {
        "a": data.source("a", still=True, repeat=2),
        "b": data.source("b", still=False, repeat=((0, 0.5), (1000, 3.0))),
    }
    config = video_config(**sets)
    sources = [MadeSource("a", videos=3, frames=1), MadeSource("b", videos=4)]
    for first, share in ((0, 2 / 8), (1000, 12 / 18)):
        found, tables = plans(config, sources, first, 1000)
        assert abs(found.set.mean() - share) < 0.05
        units = np.searchsorted(tables.unit_frame, found.frames[:, 0], side="right") - 1
        assert_uniform(units[found.set == 0], range(3))
        assert_uniform(units[found.set == 1], range(3, 7))
    stills = found.set == 0
    np.testing.assert_array_equal(found.frames[stills][:, 1:3], -1)
    np.testing.assert_array_equal(found.slot[stills], 0)
    np.testing.assert_array_equal(found.slot[~stills], np.tile([0, 1, 2], ((~stills).sum(), 1)))


def test_donors_come_from_all_sets_but_not_from_the_clip():
    config = video_config(a=data.source("a", still=True), b=data.source("b", still=True))
    config.copy_paste.probability = 0.75
    found, _ = plans(config, [MadeSource("a", videos=4, frames=1), MadeSource("b", videos=4, frames=1)], 0, 1500)
    donors = found.frames[:, 3:]
    count = (donors >= 0).sum(axis=1)
    assert not (donors == found.frames[:, :1]).any()
    assert_uniform(donors[donors >= 0], range(8))
    assert_uniform(found.donor_id[donors >= 0], [1, 2])
    assert abs((count > 0).mean() - 0.75) < 0.08  # some donors are dropped, because they are from the clip itself


def test_sets_are_weighted_as_donors():
    config = video_config(a=data.source("a", still=True), b=data.source("b", still=True, donors=0.25))
    config.copy_paste.probability = 1.0
    found, _ = plans(config, [MadeSource("a", videos=6, frames=1), MadeSource("b", videos=6, frames=1)], 0, 1500)
    donors = found.frames[:, 3:]
    of_a, of_b = ((donors >= 0) & (donors // 6 == place) for place in (0, 1))
    assert abs(of_b.sum() / (of_a.sum() + of_b.sum()) - 0.2) < 0.03
    assert_uniform(found.set, [0, 1])


def test_twins_are_one_object_pasted_twice():
    config = video_config(a=data.source("a", still=True), b=data.source("b", still=True))
    config.copy_paste.update({"probability": 1.0, "objects": (1, 3)})
    sources = [MadeSource("a", videos=20, frames=1), MadeSource("b", videos=20, frames=1)]
    alone, _ = plans(config, sources, 0, 900)
    config.copy_paste.twins = 0.5
    found, _ = plans(config, sources, 0, 900)
    first, second, third = ([found.frames[:, 3 + i], found.donor_id[:, i]] for i in range(3))
    same = np.all(np.equal(first, second), axis=0)
    twins = same & (first[0] >= 0)
    assert abs(twins.mean() - 0.5) < 0.08
    assert (np.all(np.equal(first, third), axis=0) & twins).mean() < 0.05
    np.testing.assert_array_equal(found.frames[~same], alone.frames[~same])  # samples without twins are unchanged
    count = (alone.frames[twins, 3:] >= 0).sum(axis=1)
    assert {1, 2, 3} <= set(count)  # without twins, the same samples contain one to three pasted objects


def test_longer_clips():
    """Clips of five frames have four independent gaps. A still provides all frames of a clip. Shorter videos are skipped."""
    config = video_config(a=data.source("a", still=True), b=data.source("b", still=False))
    config.frames, config.max_skip = 5, ((0, 2),)
    sources = [MadeSource("a", videos=3, frames=1), MadeSource("b", videos=4, frames=20)]
    found, _ = plans(config, sources, 0, 900)
    stills = found.set == 0
    np.testing.assert_array_equal(found.slot[stills], 0)
    np.testing.assert_array_equal(found.frames[stills][:, 1:], -1)
    gaps = np.diff(found.numbers[~stills], axis=1)
    assert gaps.shape[1] == 4
    for gap in gaps.T:
        assert_uniform(gap, [1, 2, 3])
    assert abs(np.corrcoef(gaps.T) - np.eye(4)).max() < 0.15
    with pytest.raises(DataError, match=r"none of \d+ videos contain at least 5 annotated frames"):
        plans(config, [sources[0], MadeSource("b", videos=4, frames=4)], 0, 1)


def test_donors_from_videos_continue_in_their_video():
    config = video_config(a=data.source("a", still=True), b=data.source("b", still=False))
    config.frames, config.max_skip = 4, ((0, 1),)
    config.copy_paste.update({"probability": 1.0, "objects": (2, 2), "moving": True})
    found, tables = plans(config, [MadeSource("a", videos=3, frames=1), MadeSource("b", videos=4, frames=12)], 0, 600)
    frames, slots = found.frames[:, 4:].reshape(600, 2, 4), found.donor_slot
    of_still = (frames[:, :, 0] >= 0) & (frames[:, :, 0] < 3)
    of_video = frames[:, :, 0] >= 3
    assert of_still.any() and of_video.any()
    assert (frames[of_still][:, 1:] == -1).all()
    assert (frames[frames[:, :, 0] < 0] == -1).all()
    for donor, first in enumerate((4, 8)):
        assert (slots[of_still[:, donor]][:, :, donor] == first).all()
        np.testing.assert_array_equal(
            slots[of_video[:, donor]][:, :, donor], np.tile(first + np.arange(4), (of_video[:, donor].sum(), 1))
        )
    moving = frames[of_video]
    units = np.searchsorted(tables.unit_frame, moving, side="right")
    assert (units == units[:, :1]).all()  # all frames of a donor are from one video
    steps = np.diff(moving, axis=1)
    begins = moving[:, 0] - tables.unit_frame[units[:, 0] - 1]
    assert set(steps[begins <= 5].ravel()) == {1, 2}  # the order is forwards if the video is long enough
    assert set(np.abs(steps).ravel()) <= {0, 1, 2} and (steps < 0).any()  # the order is backwards after the last frame


def test_empty_frames_and_videos_count_as_they_should():
    config = video_config(made=data.source("made", still=True))
    with pytest.warns(UserWarning, match="made: only 24 of 36 images contain an object"):
        _, tables = plans(config, [MadeSource(videos=3, empty=(1,))], 0, 1)
    np.testing.assert_array_equal(tables.record, [*range(12), *range(24, 36)])


def test_the_curricula_of_the_papers():
    assert data.stm_curriculum(3771) == ((0, 0), (75420, 5), (150840, 10), (226260, 15), (301680, 20), (377100, 25))
    assert data.stcn_curriculum(1000) == ((0, 5), (100, 10), (200, 15), (300, 20), (400, 25), (900, 5))
    assert data.MAIN_EPOCH == 3771


@pytest.mark.parametrize("schedule", [((5, 1.0),), ((0, 1.0), (20, 2.0), (10, 3.0))])
def test_a_schedule_starts_at_0_and_is_in_order(schedule):
    with pytest.raises(
        DataError, match=r"schedule is \(.*, expected \(\(first sample, value\), ...\) in order, starting at sample 0"
    ):
        plans(video_config(a=data.source("a", still=False, repeat=schedule)), [MadeSource("a")], 0, 1)


def test_a_set_that_never_counts_is_left_out():
    config = video_config(a=data.source("a", still=False), b=data.source("not built", still=False, repeat=0))
    assert set_names(config) == ["a"]
