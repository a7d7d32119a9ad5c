"""Intervals: by hand, against scipy's, and how often they hold the truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp

from accord.maths.statistics import Interval, mean_interval, proportion_interval, wilson


@given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_is_scipys(n: int, share: float, level: float) -> None:
    successes = round(share * n)
    expected = binomtest(successes, n).proportion_ci(confidence_level=level, method="wilson")
    assert wilson(successes, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_by_hand() -> None:
    # 0 of n: (0, z^2 / (n + z^2)); z = 1.959964.
    assert wilson(0, 10) == pytest.approx((0.0, 3.841459 / 13.841459), rel=1e-6)
    assert wilson(0, 0) == Interval(0.0, 1.0)
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


def test_independent_values_give_the_t_interval() -> None:
    values = [1.0, 2.0, 4.0, 9.0]
    estimate = mean_interval(values)
    expected = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert estimate.mean == 4.0
    # sd = sqrt((9 + 4 + 0 + 25) / 3), over sqrt(4)
    assert estimate.standard_error == pytest.approx(math.sqrt(38 / 3) / 2)
    assert estimate.interval == pytest.approx((expected.low, expected.high))


def test_clusters_by_hand() -> None:
    # Mean 2; cluster sums of deviations -2, 0, 2; V = 3/2 * 8 / 6^2.
    estimate = mean_interval([1, 1, 2, 2, 3, 3], clusters=["a", "a", "b", "b", "c", "c"])
    assert estimate.standard_error == pytest.approx(math.sqrt(1.5 * 8 / 36))


def test_weights_by_hand() -> None:
    # Mean (3 * 0 + 1 * 4) / 4 = 1; scores 3 * -1 and 1 * 3; V = 2 * 18 / 4^2.
    estimate = mean_interval([0, 4], weights=[3, 1])
    assert estimate.mean == 1.0
    assert estimate.standard_error == pytest.approx(math.sqrt(2 * 18 / 16))


def test_repeating_every_value_within_its_cluster_adds_no_certainty() -> None:
    values = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    once = mean_interval(values)
    thrice = mean_interval(np.repeat(values, 3), clusters=np.repeat(np.arange(5), 3))
    assert thrice.standard_error == pytest.approx(once.standard_error)
    assert proportion_interval(np.repeat(values, 3), clusters=np.repeat(np.arange(5), 3)).interval == pytest.approx(
        proportion_interval(values).interval
    )


def test_what_the_data_cannot_say_is_nan() -> None:
    assert math.isnan(mean_interval([]).mean)
    one = mean_interval([1.0, 3.0], clusters=[7, 7])
    assert one.mean == 2.0 and math.isnan(one.standard_error)
    assert proportion_interval([]).interval == Interval(0.0, 1.0)


def test_a_proportion_of_independent_answers_is_wilsons() -> None:
    assert proportion_interval([1] * 7 + [0] * 3).interval == pytest.approx(wilson(7, 10))


def test_all_right_is_not_certainty() -> None:
    estimate = proportion_interval([1.0] * 12, clusters=[0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
    assert estimate.interval == pytest.approx(wilson(4, 4))
    assert estimate.interval.low < 0.6


def test_a_row_without_weight_does_not_count() -> None:
    assert mean_interval([1, 2, 99], weights=[1, 1, 0]) == mean_interval([1, 2])


def test_bad_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        mean_interval([1, 2], weights=[1])
    with pytest.raises(ValueError, match="negative"):
        mean_interval([1, 2], weights=[1, -1])


def test_the_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    held_mean = held_share = 0
    for _ in range(400):
        # 40 prompts; each has its own chance of success (mean 0.7) and 1 to 5 pairs.
        chance = generator.beta(1.4, 0.6, 40)
        sizes = generator.integers(1, 6, 40)
        clusters = np.repeat(np.arange(40), sizes)
        values = (generator.random(sizes.sum()) < chance[clusters]).astype(float)
        held_mean += (i := mean_interval(values, clusters).interval).low <= 0.7 <= i.high
        held_share += (i := proportion_interval(values, clusters).interval).low <= 0.7 <= i.high
    # 400 trials at 95%: two standard errors are 2.2 points; small clusters cost another few.
    assert 0.91 <= held_mean / 400 <= 0.985
    assert 0.91 <= held_share / 400 <= 0.985
