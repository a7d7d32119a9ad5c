"""The difference of two shares: by hand, as published, and how often the interval holds the truth."""

import math

import numpy as np
import pytest
from scipy.stats import fisher_exact

from accord.maths import shares
from accord.maths.paired import paired_difference
from accord.maths.statistics import wilson
from accord.maths.unpaired_means import unpaired_difference


def yes(count: int, of: int) -> np.ndarray:
    return np.array([1.0] * count + [0.0] * (of - count))


def test_published_intervals_of_different_prompts() -> None:
    """Newcombe 1998a, Table II, method 10: 56/70 - 48/80, 9/10 - 3/10, 0/10 - 0/10."""
    for (a, m, b, n), low, high in (
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((0, 10, 0, 10), -0.2775, 0.2775),
    ):
        assert shares.apart(yes(a, m), yes(b, n)) == pytest.approx((low, high), abs=6e-5)


def test_neither_varies_and_still_the_difference_is_not_known_exactly() -> None:
    """None of five and none of five: each may be as high as Wilson's upper end, and the two are not correlated."""
    none = yes(0, 5)
    top = wilson(0, 5)[1]
    assert shares.paired(none, none) == pytest.approx((-top, top))
    found = paired_difference(none, none)
    assert found.interval == pytest.approx((-top, top)) and found.p == 1
    assert shares.paired(yes(5, 5), none) == pytest.approx((1 - math.hypot(1 - wilson(5, 5)[0], top), 1))


@pytest.mark.parametrize("rates", [(0.02, 0.02, 0.01), (0.3, 0.2, 0.15), (0.6, 0.5, 0.45)])
def test_the_interval_of_pairs_holds_the_truth(rates: tuple[float, float, float]) -> None:
    """first, second, and both: 2,000 times 60 prompts."""
    p, q, both = rates
    draws = np.random.default_rng(0).choice(4, p=[both, p - both, q - both, 1 - p - q + both], size=(2000, 60))
    held = 0
    for draw in draws:
        low, high = shares.paired((draw < 2).astype(float), ((draw == 0) | (draw == 2)).astype(float))
        held += low <= p - q <= high
    assert held / 2000 >= 0.93


def test_the_test_of_different_prompts_is_exact_for_shares() -> None:
    found = unpaired_difference(yes(4, 30), yes(0, 30))
    assert (found.test, found.p) == ("Fisher", pytest.approx(fisher_exact([[4, 26], [0, 30]]).pvalue))
    assert found.p > 0.1
    sure = unpaired_difference(yes(40, 40), yes(0, 40))  # neither varies: a test of means could say nothing
    # One table out of C(80, 40) is as extreme, and one the other way round.
    assert sure.difference == 1 and sure.p == pytest.approx(2 / math.comb(80, 40))
    assert unpaired_difference([0.5, 1.0, 0.0], [0.0, 1.0, 0.5]).test == "Welch"
