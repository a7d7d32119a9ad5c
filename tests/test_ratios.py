"""Ratios of sums: by hand, against the weighted mean that they are, and how often their intervals hold the truth."""

import math

import numpy as np
import pytest

from accord.maths.ratios import ratio, ratio_difference
from accord.maths.statistics import mean_interval


def test_two_clusters_by_hand() -> None:
    found = ratio([2.0, 6.0], [1.0, 2.0])
    assert found.mean == pytest.approx(8 / 3)
    # 2 - 8/3 and 6 - 16/3, over 3: -2/9 and 2/9; 2/1 (4/81 + 4/81) = 16/81.
    assert found.standard_error == pytest.approx(4 / 9)
    assert found.interval == pytest.approx((8 / 3 - 12.7062047 * 4 / 9, 8 / 3 + 12.7062047 * 4 / 9))


def test_a_difference_is_paired() -> None:
    found = ratio_difference(([2.0, 6.0], [1.0, 2.0]), ([1.0, 1.0], [1.0, 2.0]))
    assert found.mean == pytest.approx(8 / 3 - 2 / 3)
    # -2/9 less 1/9, and the reverse.
    assert found.standard_error == pytest.approx(2 / 3)
    same = ratio_difference(([2.0, 6.0], [1.0, 2.0]), ([2.0, 6.0], [1.0, 2.0]))
    assert same.mean == same.standard_error == 0.0


def test_it_is_the_mean_of_the_clusters_weighted_by_what_is_below() -> None:
    draw = np.random.default_rng(1)
    below = draw.integers(1, 50, 40).astype(float)
    above = below * draw.normal(3.0, 0.5, 40)
    other = mean_interval(above / below, weights=below)
    found = ratio(above, below)
    assert found[:2] == pytest.approx(other[:2]) and found.interval == pytest.approx(other.interval)


def test_one_cluster_has_no_error_and_nothing_below_is_refused() -> None:
    alone = ratio([3.0], [2.0])
    assert alone.mean == 1.5 and math.isnan(alone.standard_error) and math.isnan(alone.interval.low)
    for below in ([], [0.0, 1.0]):
        with pytest.raises(ValueError, match="nothing below"):
            ratio([1.0] * len(below), below)
    with pytest.raises(ValueError, match="not the same ones"):
        ratio_difference(([1.0, 2.0], [1.0, 1.0]), ([1.0], [1.0]))


def test_intervals_hold_the_truth_where_documents_differ() -> None:
    """60 documents of very different length, each with a mean of its own; a document's length tells nothing of it."""
    draw, held, repetitions = np.random.default_rng(2), 0, 2000
    for _ in range(repetitions):
        below = draw.lognormal(4, 0.5, 60)
        found = ratio(below * draw.normal(3.0, 0.4, 60), below)
        held += found.interval.low <= 3.0 <= found.interval.high
    assert 0.93 <= held / repetitions <= 0.97
