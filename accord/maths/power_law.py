"""Power laws of loss against parameters, data or compute, fitted to runs, and how sure they are. numpy and scipy only.

R runs, K terms that fall (one: N, D or C; two: N and D), P = 1 + 2 K parameters. Losses in nats per token.

L = E + A / N^alpha (K = 1), L = E + A / N^alpha + B / D^beta (K = 2: Hoffmann et al. 2022, Eq. 2). As there (Eq. 3) the
sum over runs of the Huber loss of log L_hat - log L is minimised, from a grid of starts: a run that went wrong weighs
little. They use L-BFGS, whose default end comes too early here (Besiroglu et al. 2024); ours is Levenberg's and
Marquardt's damped step on reweighted squares, on many starts or resamples at once, until no step leads down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

Floats = NDArray[np.float64]

DELTA = 1e-3  # Hoffmann et al. 2022, section 3.3: where the Huber loss of log L turns from squares to absolute values
FLOPS = 6  # of a token and a parameter, forward and backward: C = 6 N D (Kaplan et al. 2020, section 2.1)
FLOORS, EXPONENTS = (0.05, 0.5, 0.9), (0.05, 0.2, 0.5, 1.0)  # of the starts: E over the least loss, alpha
LEAST, MOST = 1e-3, 4.0  # exponents
DEEPEST = 14.0  # E is at least exp(-14) of the least loss, which is none
STEPS, NEAR = 400, 1e-9  # at most; of a step, and of the descent that it brings, what is none any more
SMOOTHER = (0.1, 0.01)  # deltas before the last one: with them the way down is shorter
CHUNK = 4096  # fits made together


@dataclass(frozen=True)
class Law:
    """E, and for each term its coefficient (A, B) and exponent (alpha, beta)."""

    floor: float
    coefficient: tuple[float, ...]
    exponent: tuple[float, ...]

    def loss(self, size: ArrayLike) -> Floats:
        """(..., K) sizes -> (...) nats per token."""
        logs = np.log(np.asarray(size, dtype=np.float64))
        terms = np.exp(np.log(self.coefficient) - np.asarray(self.exponent) * logs)
        return np.asarray(self.floor + terms.sum(-1))

    def optimum(self, compute: float) -> tuple[float, float]:
        """(N, D) of the least loss where 6 N D = compute (FLOPs). K = 2. Hoffmann et al. 2022, Eq. 4."""
        (a, b), (alpha, beta) = self.coefficient, self.exponent
        g = (alpha * a / (beta * b)) ** (1 / (alpha + beta))
        n = g * (compute / FLOPS) ** (beta / (alpha + beta))
        return n, compute / FLOPS / n


class Fit(NamedTuple):
    """The law of some runs, and what is left of each."""

    law: Law
    theta: Floats  # (P,) log E; log of each term at the runs' mean size; exponents
    residual: Floats  # (R,) log L - log L_hat
    value: float  # the sum of Huber losses
    edge: tuple[bool, ...]  # (P,) which of theta ended where it is bounded

    @property
    def scatter(self) -> float:
        """The standard deviation of a run's log L about the law, by R - P degrees of freedom."""
        freedom = len(self.residual) - len(self.theta)
        return float(np.sqrt(self.residual @ self.residual / freedom)) if freedom > 0 else float("nan")


class TooFew(ValueError):
    """Runs that do not determine a law: fewer than it has parameters and one more, or too few different sizes."""


def parameters(terms: int) -> int:
    """P of a law of K terms."""
    return 1 + 2 * terms


def check(size: Floats) -> None:
    """(R, K). TooFew, with the reason."""
    runs, terms = size.shape
    if runs <= parameters(terms):
        raise TooFew(f"{runs} runs, and a law of {parameters(terms)} parameters needs {parameters(terms) + 1} or more")
    for column in size.T:
        if (different := len(np.unique(column))) < 3:
            raise TooFew(f"{different} different sizes, and a curve needs 3 or more")
    if terms == 2 and _along(size) > 0.99:
        raise TooFew("parameters and tokens grow together, so their effects cannot be told apart")


def _along(size: Floats) -> float:
    """How far the logarithms of two sizes lie on one line: the correlation's absolute value."""
    return float(abs(np.corrcoef(np.log(size.T))[0, 1]))


def fit(size: ArrayLike, loss: ArrayLike, *, delta: float = DELTA) -> Fit:
    """(R, K) sizes, (R,) losses -> the law. TooFew as `check`."""
    sizes, y = np.asarray(size, dtype=np.float64), np.log(np.asarray(loss, dtype=np.float64))
    check(sizes)
    x, centre = _centred(sizes)
    start = _starts(y, x.shape[1])
    theta, value = _descend(x, np.tile(y, (len(start), 1)), np.ones((len(start), len(y))), start, delta)
    best = int(np.argmin(value))
    found, (low, high) = theta[best], _bounds(y[None], x.shape[1])
    edge = tuple(bool(one) for one in (found <= low[0]) | (found >= high[0]))
    residual = y - _log_loss(found[None], x)[0]
    return Fit(_law(found, centre), found, residual, float(value[best]), edge)


def by_runs(
    best: Fit,
    size: ArrayLike,
    loss: ArrayLike,
    rounds: int,
    seed: int,
    *,
    delta: float = DELTA,
    advance: Callable[[int], None] = lambda done: None,
) -> list[Law]:
    """The laws of `rounds` resamples of the runs (Efron 1979). A resample with too few different sizes is drawn anew.

    For many runs: it takes neither the form of their scatter nor the law for granted.
    """
    sizes, y = np.asarray(size, dtype=np.float64), np.log(np.asarray(loss, dtype=np.float64))
    draw, counts = np.random.default_rng(seed), list[Floats]()
    while len(counts) < rounds:
        count = draw.multinomial(len(y), np.full(len(y), 1 / len(y)))
        if _determines(sizes[count > 0]):
            counts.append(count.astype(np.float64))
    return _refitted(best, sizes, np.tile(y, (rounds, 1)), np.array(counts), delta, advance)


def by_residuals(
    best: Fit,
    size: ArrayLike,
    rounds: int,
    seed: int,
    *,
    level: float = 0.95,
    delta: float = DELTA,
    advance: Callable[[int], None] = lambda done: None,
) -> list[Law]:
    """The laws of `rounds` sets of losses drawn about the fitted ones: normal in log L, of the runs' own scatter.

    For few runs, of which resamples would lose the sizes that the law hangs on. The scatter of few runs is itself
    uncertain: it is widened by Student's quantile over the normal one, R - P degrees of freedom.
    """
    sizes = np.asarray(size, dtype=np.float64)
    freedom = len(best.residual) - len(best.theta)
    wider = float(stdtrit(freedom, 0.5 + level / 2) / ndtri(0.5 + level / 2))
    x, _ = _centred(sizes)
    noise = np.random.default_rng(seed).standard_normal((rounds, len(sizes)))
    y = _log_loss(best.theta[None], x) + best.scatter * wider * noise
    return _refitted(best, sizes, y, np.ones_like(y), delta, advance)


def _determines(sizes: Floats) -> bool:
    terms = sizes.shape[1]
    enough = len(np.unique(sizes, axis=0)) >= parameters(terms)
    return enough and all(len(np.unique(column)) >= 3 for column in sizes.T) and (terms == 1 or _along(sizes) <= 0.99)


def _refitted(
    best: Fit, sizes: Floats, y: Floats, weight: Floats, delta: float, advance: Callable[[int], None]
) -> list[Law]:
    """Each from the law of all runs, and from the same with half of E and with twice as steep a fall: of the ends the
    lowest. A resample whose E is anywhere between 0 and the least loss is not held at where it began."""
    x, centre = _centred(sizes)
    terms, laws = x.shape[1], list[Law]()
    for start in range(0, len(y), CHUNK // 3):
        rows = slice(start, start + CHUNK // 3)
        starts = np.repeat(best.theta[None], 3, axis=0)
        starts[1, 0] -= np.log(2)
        starts[2, 1 + terms :] = np.clip(2 * starts[2, 1 + terms :], LEAST, MOST)
        count = len(y[rows])
        losses, weights = (np.repeat(part, 3, axis=0) for part in (y[rows], weight[rows]))
        theta, value = _descend(x, losses, weights, np.tile(starts, (count, 1)), delta)
        lowest = value.reshape(count, 3).argmin(1)
        laws += [_law(one[place], centre) for one, place in zip(theta.reshape(count, 3, -1), lowest, strict=True)]
        advance(len(laws))
    return laws


def _centred(sizes: Floats) -> tuple[Floats, Floats]:
    """(R, K) log sizes less their mean, which is (K,): then a term's height and its exponent are hardly correlated."""
    x = np.log(sizes)
    return x - x.mean(0), x.mean(0)


def _law(theta: Floats, centre: Floats) -> Law:
    terms = len(centre)
    height, exponent = theta[1 : 1 + terms], theta[1 + terms :]
    return Law(float(np.exp(theta[0])), tuple(np.exp(height + exponent * centre).tolist()), tuple(exponent.tolist()))


def _starts(y: Floats, terms: int) -> Floats:
    """(S, P)"""
    least, mean = np.exp(y.min()), np.exp(y.mean())
    found = []
    for floor, *exponents in product(FLOORS, *[EXPONENTS] * terms):
        height = np.log((mean - floor * least) / terms)
        found.append([np.log(floor * least), *[height] * terms, *exponents])
    return np.array(found)


def _bounds(y: Floats, terms: int) -> tuple[Floats, Floats]:
    """(B, R) -> (B, P), (B, P)"""
    least, most = y.min(1), y.max(1)
    low = [least - DEEPEST, *[least - DEEPEST] * terms, *[np.full(len(y), LEAST)] * terms]
    high = [most, *[most + 2] * terms, *[np.full(len(y), MOST)] * terms]
    return np.array(low).T, np.array(high).T


def _terms(theta: Floats, x: Floats) -> Floats:
    """(B, P), (R, K) -> (B, R, 1 + K) logarithms of E and of each term."""
    terms = x.shape[1]
    falling = theta[:, None, 1 : 1 + terms] - theta[:, None, 1 + terms :] * x
    floor = np.broadcast_to(theta[:, None, :1], (*falling.shape[:2], 1))
    return np.concatenate([floor, falling], axis=2)


def _log_loss(theta: Floats, x: Floats) -> Floats:
    """(B, P), (R, K) -> (B, R)"""
    return np.asarray(np.logaddexp.reduce(_terms(theta, x), axis=2))


def _huber(residual: Floats, weight: Floats, delta: float) -> Floats:
    """(B, R) -> (B,) sums of Huber losses over delta^2: a residual of delta adds a half."""
    size = np.abs(residual) / delta
    return np.asarray((weight * np.where(size <= 1, size**2 / 2, size - 0.5)).sum(1))


def _descend(x: Floats, y: Floats, weight: Floats, start: Floats, delta: float) -> tuple[Floats, Floats]:
    """(R, K), (B, R), (B, R), (B, P) -> (B, P) the lowest places found, (B,) how low."""
    theta = start
    for smoother in (*(one for one in SMOOTHER if one > delta), delta):
        theta, value = _descend_at(x, y, weight, theta, smoother)
    return theta, value


def _descend_at(x: Floats, y: Floats, weight: Floats, start: Floats, delta: float) -> tuple[Floats, Floats]:
    """As `_descend`, of one delta. Who is at its end no longer takes part."""
    low, high = _bounds(y, x.shape[1])
    theta = np.clip(start, low, high)
    value = _huber(_log_loss(theta, x) - y, weight, delta)
    damping, going = np.full(len(y), 1e-2), np.arange(len(y))
    for _ in range(STEPS):
        of = (y[going], weight[going], damping[going], low[going], high[going])
        here, before = theta[going], value[going]
        moved = np.clip(here + _step(here, x, delta, *of), of[3], of[4])
        new = _huber(_log_loss(moved, x) - of[0], of[1], delta)
        better = new < before
        theta[going[better]], value[going[better]] = moved[better], new[better]
        damping[going] = np.clip(np.where(better, of[2] / 3, of[2] * 4), 1e-12, 1e12)
        there = (np.abs(moved - here).max(1) < NEAR) | (better & (before - new < NEAR * before))
        going = going[~there]
        if not len(going):
            break
    return theta, value


def _step(
    theta: Floats, x: Floats, delta: float, y: Floats, weight: Floats, damping: Floats, low: Floats, high: Floats
) -> Floats:
    """(B, P) the damped Gauss-Newton step of reweighted squares; what a bound holds back stays."""
    terms = _terms(theta, x)
    total = np.logaddexp.reduce(terms, axis=2)
    share = np.exp(terms - total[:, :, None])  # (B, R, 1 + K) of the loss
    slope = np.concatenate([share, -share[:, :, 1:] * x], axis=2)  # (B, R, P) of log L
    residual = total - y
    pull = weight / np.maximum(np.abs(residual), delta)  # the square that touches the Huber loss here, and is above it
    gradient = np.einsum("brp,br->bp", slope, pull * residual)
    held = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
    slope = np.where(held[:, None, :], 0.0, slope)
    hessian = np.einsum("brp,br,brq->bpq", slope, pull, slope)
    diagonal = np.einsum("bpp->bp", hessian)
    scale = damping[:, None] * np.maximum(diagonal, 1e-12 * diagonal.max(1, keepdims=True)) + held
    hessian = hessian + scale[:, :, None] * np.eye(theta.shape[1])
    return np.asarray(-np.linalg.solve(hessian, np.where(held, 0.0, gradient)[:, :, None])[:, :, 0])
