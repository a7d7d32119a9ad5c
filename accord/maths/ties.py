"""What a comparison of two says where a tie is possible: three answers to it, in one table. numpy and scipy only.

Each takes gap (N,) = the strength of the first less that of the second, in logits, outcome (N,) = how far the first is
said to be better, in 0..1 (1 a win, 0 a loss, 1/2 a tie), and theta, the number that rules ties; and gives the negative
log-likelihood of each comparison with its derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

Floats = NDArray[np.float64]


class Terms(NamedTuple):
    """(N,) each: a comparison's negative log-likelihood l, and its derivatives by gap g and theta t."""

    loss: Floats
    by_gap: Floats  # dl/dg
    by_theta: Floats  # dl/dt
    gap_gap: Floats  # d2l/dg2
    gap_theta: Floats  # d2l/dg dt
    theta_theta: Floats  # d2l/dt2


class Chances(NamedTuple):
    """(N,) each: that the first wins, that they tie, that it loses."""

    win: Floats
    tie: Floats
    loss: Floats


def half(gap: Floats, outcome: Floats, theta: float) -> Terms:
    """-(o log sigma(g) + (1 - o) log sigma(-g)): Bradley and Terry 1952, a tie being half a win and half a loss.

    Any outcome in 0..1, such as a judge's probability, counts alike. There is no theta.
    """
    chance = expit(gap)
    none = np.zeros_like(gap)
    loss = -log_expit(-gap) - outcome * gap  # log sigma(g) = g + log sigma(-g): one logarithm of the two
    return Terms(loss, chance - outcome, none, chance * (1 - chance), none, none)


def davidson(gap: Floats, outcome: Floats, theta: float) -> Terms:
    """P(win, tie, loss) = (e^(g/2), nu, e^(-g/2)) / their sum, nu = e^theta: Davidson 1970.

    nu = 1: between equals a tie is as likely as either's win. An outcome that is no tie (not 1/2) and within 0..1 is
    that share of a win, the rest of a loss.
    """
    tied = outcome == 0.5
    lead = np.where(tied, 0.0, outcome - 0.5)  # of the shares of win and loss, half the difference
    win, tie, loss = _davidson_chances(gap, theta)
    top = np.maximum(np.abs(gap) / 2, theta)
    total = top + np.log(np.exp(gap / 2 - top) + np.exp(-gap / 2 - top) + np.exp(theta - top))
    ahead = win - loss
    return Terms(
        total - lead * gap - theta * tied,
        ahead / 2 - lead,
        tie - tied,
        (win + loss - ahead**2) / 4,
        -ahead * tie / 2,
        tie * (1 - tie),
    )


def rao_kupper(gap: Floats, outcome: Floats, theta: float) -> Terms:
    """P(win) = sigma(g - t), P(loss) = sigma(-g - t), the rest are ties; t = theta > 0: Rao and Kupper 1967.

    A difference below the threshold t is not noticed. P(tie) = (e^(2t) - 1) sigma(g - t) sigma(-g - t), so a tie counts
    as a win and a loss beside the first factor. Outcomes within 0..1 as in `davidson`.
    """
    tied = outcome == 0.5
    if theta <= 0:  # not defined there: ties would have no chance
        return Terms(np.full_like(gap, np.inf), *(np.zeros_like(gap) for _ in range(5)))
    won, lost = np.where(tied, 1.0, outcome), np.where(tied, 1.0, 1 - outcome)
    win, loss = expit(gap - theta), expit(-gap - theta)
    odds = np.expm1(2 * theta)
    by_won, by_lost = won * (1 - win), lost * (1 - loss)
    bend_won, bend_lost = by_won * win, by_lost * loss
    return Terms(
        -won * log_expit(gap - theta) - lost * log_expit(-gap - theta) - tied * np.log(odds),
        by_lost - by_won,
        by_won + by_lost - tied * (2 + 2 / odds),
        bend_won + bend_lost,
        bend_lost - bend_won,
        bend_won + bend_lost + tied * 4 * (1 + odds) / odds**2,
    )


def _half_chances(gap: Floats, theta: float) -> Chances:
    return Chances(expit(gap), np.zeros_like(gap), expit(-gap))


def _davidson_chances(gap: Floats, theta: float) -> Chances:
    top = np.maximum(np.abs(gap) / 2, theta)
    parts = np.exp(gap / 2 - top), np.exp(theta - top), np.exp(-gap / 2 - top)
    total = parts[0] + parts[1] + parts[2]
    return Chances(*(part / total for part in parts))


def _rao_kupper_chances(gap: Floats, theta: float) -> Chances:
    win, loss = expit(gap - theta), expit(-gap - theta)
    return Chances(win, 1 - win - loss, loss)


class TieModel(NamedTuple):
    """A row of TIES. start: where the search for theta begins; None where there is none."""

    terms: Callable[[Floats, Floats, float], Terms]
    chances: Callable[[Floats, float], Chances]
    start: float | None
    says: str  # what becomes of a tie
    number: str  # what exp(theta) is called


TIES: dict[str, TieModel] = {
    "half": TieModel(half, _half_chances, None, "counted as half a win for both", ""),
    "davidson": TieModel(davidson, _davidson_chances, 0.0, "an outcome of its own (Davidson)", "nu"),
    "rao_kupper": TieModel(rao_kupper, _rao_kupper_chances, 0.5, "an outcome of its own (Rao-Kupper)", "kappa"),
}
