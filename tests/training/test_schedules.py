"""Compares schedules with expected values."""

import numpy as np
import pytest

from hmmn_jax.errors import ConfigError
from hmmn_jax.training.schedules import at_sample, hardest_share_schedule, is_due, learning_rate_schedule


def rates(steps, *args, **kwargs):
    schedule = learning_rate_schedule(*args, **kwargs)
    return [float(schedule(step)) for step in steps]


@pytest.mark.parametrize(
    ("batch", "every", "expected"),
    [(4, 8, [2, 4, 6]), (4, 1, [1, 2, 3, 4, 5, 6]), (3, 8, [3, 6]), (8, 20, [3, 5]), (4, 100, []), (5, 6, [2, 3, 4, 5, 6])],
)
def test_intervals_in_samples(batch, every, expected):
    assert [step for step in range(1, 7) if is_due(step, batch, every)] == expected


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("constant", {}, [2, 2, 2, 2, 2]),
        ("poly", {}, [2, 2 * 0.75**0.9, 2 * 0.5**0.9, 2 * 0.25**0.9, 0]),
        ("poly", {"power": 1.0, "end": 0.5}, [2, 1.75, 1.5, 1.25, 1]),
        ("step", {"boundaries": (0.5, 0.75), "factor": 0.1}, [2, 2, 0.2, 0.02, 0.02]),
        ("cosine", {}, [2, 1 + np.sqrt(0.5), 1, 1 - np.sqrt(0.5), 0]),
        ("cosine", {"end": 0.5}, [2, 1.5 + np.sqrt(0.125), 1.5, 1.5 - np.sqrt(0.125), 1]),
    ],
)
def test_each_schedule_over_a_run(name, options, expected):
    np.testing.assert_allclose(rates([0, 100, 200, 300, 400], name, 2.0, 400, **options), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["constant", "poly", "step", "cosine"])
def test_warm_up_comes_first_and_the_rest_of_the_run_is_the_schedule(name):
    found = rates(range(4), name, 2.0, 12, 3, boundaries=(0.5,))
    np.testing.assert_allclose(found, [0.5, 1.0, 1.5, 2.0], rtol=1e-6)
    assert rates([12], "poly", 2.0, 12, 3) == [0]
    np.testing.assert_allclose(rates([5, 6], "step", 2.0, 12, 3, boundaries=(0.5,)), [2, 0.2], rtol=1e-6)


def test_the_hardest_share_falls_as_in_stcn():
    share = hardest_share_schedule(0.15, 20_000, 70_000)
    np.testing.assert_allclose([share(s) for s in (0, 20_000, 45_000, 70_000, 90_000)], [1, 1, 0.575, 0.15, 0.15], rtol=1e-6)
    assert hardest_share_schedule(1.0, 0, 0) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: learning_rate_schedule("linear", 1.0, 10), "'linear', expected one of constant, poly, step, cosine"),
        (lambda: learning_rate_schedule("poly", 1.0, 10, 10), "warm-up takes 10 of 10 steps"),
        (lambda: learning_rate_schedule("step", 1.0, 10, boundaries=(0.8, 0.5)), "increasing fractions"),
        (lambda: hardest_share_schedule(0.0, 0, 1), "hardest share is 0.0"),
        (lambda: hardest_share_schedule(0.5, 7, 7), "from step 7 to step 7"),
    ],
)
def test_what_makes_no_schedule_is_reported(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_a_schedule_by_samples():
    schedule = ((0, 0), (100, 5), (200, 10))
    assert [at_sample(schedule, sample) for sample in (0, 99, 100, 1000)] == [0, 0, 5, 10]
