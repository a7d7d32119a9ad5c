"""Reward against distance: where a gold score falls while the proxy rises, and the curves of Gao et al. 2023. numpy and
scipy only.

P points (policies), G prompts, d = sqrt(KL(pi || pi_ref)) with the KL in nats a sequence. The proxy is the reward that
was optimised, gold the score that was meant.

Gao, Schulman and Hilton 2023 ("Scaling laws for reward model overoptimization", section 1): the gold score less that of
the reference, which is 0 at d = 0 by definition, follows d (a - b d) for the best of n, and d (a - b ln d) for
reinforcement learning. The second has an infinite slope at d = 0, and is not meant for there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from accord.maths.statistics import Estimate, Interval

Floats = NDArray[np.float64]

LEAST = 3  # points away from the reference that a curve of two numbers is fitted to
HELD = 4_000_000  # numbers that are in memory at a time


class Form(NamedTuple):
    """d (a - b f(d)). peak: (a, b), b above 0 -> the d where its derivative is 0."""

    written: str
    f: Callable[[Floats], Floats]
    peak: Callable[[float, float], float]


FORMS = {
    "best_of_n": Form("d (a - b d)", lambda d: d, lambda a, b: a / (2 * b)),
    "trained": Form("d (a - b ln d)", np.log, lambda a, b: float(np.exp(min(a / b - 1, FARTHEST)))),
}
FARTHEST = 300.0  # the logarithm of a distance: a peak beyond it is none


class Curve(NamedTuple):
    """A fitted form: the gain in gold score at a KL."""

    form: str
    a: float
    b: float

    def gain(self, kl: ArrayLike) -> Floats:
        """(...,) nats above 0 -> (...,)."""
        d = np.sqrt(np.asarray(kl, dtype=np.float64))
        return np.asarray(d * (self.a - self.b * FORMS[self.form].f(d)))

    @property
    def peak(self) -> float | None:
        """The KL of its greatest value; None where it rises without end, or falls from the start."""
        if not self.b > 0:
            return None
        d = FORMS[self.form].peak(self.a, self.b)
        return d * d if 0 < d < math.exp(FARTHEST) else None


class Fit(NamedTuple):
    """A curve, the standard errors of its two numbers, and the standard deviation of points about it (P - 2)."""

    curve: Curve
    a_error: float
    b_error: float
    scatter: float
    points: int


class TooFew(ValueError):
    """Points that do not determine a curve."""


def coefficients(kl: ArrayLike, gain: ArrayLike, form: str) -> Floats:
    """(..., P) KLs above 0 and gains -> (..., 2) a and b by least squares; NaN where points do not determine them."""
    d, y = np.sqrt(np.asarray(kl, dtype=np.float64)), np.asarray(gain, dtype=np.float64)
    one, other = d, -d * FORMS[form].f(d)
    square, both, rest = (one * one).sum(-1), (one * other).sum(-1), (other * other).sum(-1)
    left, right = (one * y).sum(-1), (other * y).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = square * rest - both**2
        found = np.stack([rest * left - both * right, square * right - both * left], axis=-1) / whole[..., None]
    return np.where(np.isfinite(found), found, np.nan)


def fit(kl: ArrayLike, gain: ArrayLike, resampled_kl: ArrayLike, resampled_gain: ArrayLike, form: str) -> Fit:
    """(P,) KLs, (P,) gains over the reference, (R, P) both of R resamples of the prompts -> the curve.

    Points without any distance say nothing of it and are left out. Standard errors: the standard deviation over the
    resamples, whose points go up and down together; for trained policies, each of which is a run of its own, the error
    by the scatter of the points about the curve is added to it in squares. TooFew: less than three different distances.
    """
    x, y = np.asarray(kl, dtype=np.float64), np.asarray(gain, dtype=np.float64)
    away = x > 0
    if (count := len(np.unique(x[away]))) < LEAST:
        raise TooFew(f"{count} points away from the reference, and a curve of two numbers needs {LEAST} or more")
    a, b = coefficients(x[away], y[away], form).tolist()
    curve = Curve(form, a, b)
    residual = y[away] - curve.gain(x[away])
    scatter = math.sqrt(float(residual @ residual) / (len(residual) - 2))
    draws_kl = np.maximum(np.asarray(resampled_kl, dtype=np.float64)[:, away], np.finfo(np.float64).tiny)
    draws = coefficients(draws_kl, np.asarray(resampled_gain, dtype=np.float64)[:, away], form)
    error = np.nanstd(draws, axis=0, ddof=1)
    if form == "trained":
        error = np.hypot(error, scatter * _unit_errors(x[away], form))
    return Fit(curve, float(error[0]), float(error[1]), scatter, len(residual))


def _unit_errors(kl: Floats, form: str) -> Floats:
    """(P,) -> (2,) standard errors of a and b where points lie about the curve by 1: the root of diag (X' X)^-1."""
    d = np.sqrt(kl)
    design = np.stack([d, -d * FORMS[form].f(d)], axis=1)
    return np.asarray(np.sqrt(np.diag(np.linalg.inv(design.T @ design))))


class Knee(NamedTuple):
    """The point with the greatest gold score, and a later one whose proxy is higher and whose gold is lower.

    Places are those of the points given; no later one: it is None, and so are the differences. They are the later
    one's less the knee's, paired by prompt, with intervals that hold for every two of the P points together.
    """

    place: int
    later: int | None
    proxy: Estimate | None
    gold: Estimate | None

    @property
    def sure(self) -> bool:
        """Whether gold falls and the proxy rises by more than chance: over-optimisation."""
        return (
            self.gold is not None
            and self.proxy is not None
            and self.gold.interval.high < 0
            and self.proxy.interval.low > 0
        )


def knee(kl: ArrayLike, proxy: ArrayLike, gold: ArrayLike, level: float = 0.95) -> Knee:
    """(P,) KLs, (G, P) mean proxy and gold scores of each prompt's answers -> the knee of these points.

    Later is further from the reference. Of several later ones that are sure, or of all where none is, the one with the
    least gold. Intervals are Student's of level 1 - (1 - level) / m, m = P (P - 1) / 2 (Bonferroni): the knee is looked
    for among all points, and the more there are the greater a fall by chance.
    """
    far, proxies, golds = (np.asarray(one, dtype=np.float64) for one in (kl, proxy, gold))
    means = golds.mean(0)
    order = np.argsort(far, kind="stable")
    place = int(order[np.argmax(means[order])])
    pairs = len(far) * (len(far) - 1) / 2
    found = []
    for later in np.flatnonzero(far > far[place]).tolist():
        differences = (_paired(column[:, later] - column[:, place], level, pairs) for column in (proxies, golds))
        one = Knee(place, later, *differences)
        if one.proxy is not None and one.gold is not None and one.proxy.mean > 0 and one.gold.mean < 0:
            found.append(one)
    sure = [one for one in found if one.sure] or found
    return min(sure, key=lambda one: means[one.later]) if sure else Knee(place, None, None, None)


def _paired(difference: Floats, level: float, tests: float) -> Estimate:
    """(G,) -> mean, with Student's interval for one of so many tests."""
    count, mean = len(difference), float(difference.mean())
    if count < 2:
        return Estimate(mean, math.nan, Interval(math.nan, math.nan))
    error = float(difference.std(ddof=1)) / math.sqrt(count)
    half = float(stdtrit(count - 1, 1 - (1 - level) / (2 * tests))) * error
    return Estimate(mean, error, Interval(mean - half, mean + half))


def resampled_columns(values: ArrayLike, rounds: int, seed: int) -> Floats:
    """(G, M) numbers of G prompts -> (R, M) their means over G prompts drawn with replacement, R times (Efron 1979).

    All columns of a round are of the same prompts, so that what they have in common goes with them.
    """
    columns = np.asarray(values, dtype=np.float64)
    size, draw = len(columns), np.random.default_rng(seed)
    step = max(1, HELD // size)
    parts = []
    for start in range(0, rounds, step):
        count = draw.multinomial(size, np.full(size, 1 / size), size=min(step, rounds - start))
        parts.append(count @ columns / size)
    return np.concatenate(parts)
