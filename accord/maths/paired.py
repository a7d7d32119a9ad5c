"""Two models on the same prompts: how far apart they are, and whether chance explains it. numpy and scipy only."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr
from scipy.stats import binom, binomtest

from accord.maths import shares
from accord.maths.statistics import Interval, mean_interval

Floats = NDArray[np.float64]

EXACT = 100_000  # prompts of which a sum of signs is still counted out
DRAWN = 20_000  # prompts of which signs are still drawn; of more the sum is normal
AT_A_TIME = 2**23  # signs in memory


class Difference(NamedTuple):
    """Mean outcome of the first less that of the second on n prompts, and p of no difference by the test named."""

    n: int
    difference: float
    standard_error: float
    interval: Interval
    p: float
    test: str


def paired_difference(
    first: ArrayLike, second: ArrayLike, *, level: float = 0.95, rounds: int = 10_000, seed: int = 0
) -> Difference:
    """(n,), (n,) the outcomes of two models on the same prompts.

    The error is that of the n differences: what makes a prompt easy for both does not count. Where all outcomes are 0
    or 1 the test is McNemar's and the interval `shares.paired`, else `sign_flip` and Student's.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    estimate = mean_interval(one - other, level=level)
    if len(one) and shares.are_shares(one, other):
        estimate = estimate._replace(interval=shares.paired(one, other, level))
        p, test = mcnemar(one, other), "McNemar"
    else:
        p, test = sign_flip(one - other, rounds, seed)
    return Difference(len(one), estimate.mean, estimate.standard_error, estimate.interval, p, test)


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p of wins and losses being equally likely; ties are left out. 1 without either."""
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def mcnemar(first: Floats, second: Floats) -> float:
    """McNemar's exact test: p of the prompts that only the first wins and those that only the second wins."""
    return sign_test(int((first > second).sum()), int((first < second).sum()))


def sign_flip(difference: ArrayLike, rounds: int = 10_000, seed: int = 0) -> tuple[float, str]:
    """(n,) differences -> (two-sided p, how): of all ways to give them signs, the share whose sum is as far from 0.

    What chance does if neither model is better is to swap their outcomes, prompt by prompt. Counted out where the
    differences are multiples of 1/2, else drawn; p is then at least 1 / (rounds + 1).
    """
    found = np.asarray(difference, dtype=np.float64)
    found = found[found != 0]
    halves = np.rint(2 * np.abs(found))
    if len(found) <= EXACT and np.array_equal(halves, 2 * np.abs(found)) and halves.max(initial=0) <= 2:
        return _counted(found), "sign flips, all"
    if len(found) > DRAWN:
        z = abs(found.sum()) / math.sqrt(float(found @ found))
        return float(2 * ndtr(-z)), "sign flips, normal"
    return _drawn(found, rounds, seed), f"sign flips, {rounds:,}"


def _counted(difference: Floats) -> float:
    """The differences are +-1/2 and +-1: twice their sum is x + 2 y of two sums of signs."""
    halves = int((np.abs(difference) == 0.5).sum())
    wholes = len(difference) - halves
    seen = abs(round(2 * float(difference.sum())))
    if seen == 0:
        return 1.0
    up = np.arange(halves + 1)
    # x + 2 y >= seen, y = 2 b - wholes, for each x = 2 up - halves
    least = np.ceil((seen - (2 * up - halves)) / 4 + wholes / 2)
    return float(min(1.0, 2 * binom.pmf(up, halves, 0.5) @ binom.sf(least - 1, wholes, 0.5)))


def _drawn(difference: Floats, rounds: int, seed: int) -> float:
    generator = np.random.default_rng(seed)
    seen = abs(float(difference.sum()))
    slack = 1e-9 * float(np.abs(difference).sum())  # sums of the same numbers in another order are not less
    step, reached = max(1, AT_A_TIME // len(difference)), 0
    for start in range(0, rounds, step):
        flips = generator.integers(2, size=(min(step, rounds - start), len(difference)), dtype=np.int8)
        sums = difference.sum() - 2 * (flips @ difference)
        reached += int((np.abs(sums) >= seen - slack).sum())
    return (1 + reached) / (rounds + 1)
