"""How far two orders of the same things agree: the share of their pairs, ties as one likes; Kendall's tau. numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accord.maths.correlation import tau_b
from accord.maths.resampling import Floats

Signs = NDArray[np.int64]


class Credit(NamedTuple):
    """(P,) how far each pair is one on which both agree, in 0..1, and (P,) whether it counts at all."""

    value: Floats
    counts: NDArray[np.bool_]


def ties_against(one: Signs, other: Signs) -> Credit:
    """A tie is a verdict like others: it agrees with a tie alone."""
    return Credit((one == other).astype(np.float64), np.ones(len(one), dtype=bool))


def ties_half(one: Signs, other: Signs) -> Credit:
    """A tie agrees with a tie, and half with a decision either way (Wang et al. 2023 call it relaxed)."""
    half = (one == 0) != (other == 0)
    return Credit(np.where(half, 0.5, one == other), np.ones(len(one), dtype=bool))


def ties_dropped(one: Signs, other: Signs) -> Credit:
    """Only pairs that both decide count."""
    return Credit((one == other).astype(np.float64), (one != 0) & (other != 0))


# What becomes of (P,) signs that two raters give to pairs: 1 the first is better, -1 the second, 0 a tie.
TIES: dict[str, Callable[[Signs, Signs], Credit]] = {"zero": ties_against, "half": ties_half, "drop": ties_dropped}


def signs_of(goodness: ArrayLike) -> Signs:
    """(R, K) how good each of K things is in R orders -> (R, K (K - 1) / 2) who is better in each pair."""
    order = np.asarray(goodness, dtype=np.float64)
    first, second = np.triu_indices(order.shape[1], 1)
    return np.sign(order[:, first] - order[:, second]).astype(np.int64)


def kendall(one: Signs, other: Signs) -> Floats:
    """(R, Q), (R, Q) pairs of R couples of orders -> (R,) Kendall's tau-b of each; NaN where either ties everything."""
    couple = np.repeat(np.arange(len(one)), one.shape[1] if one.ndim > 1 else 0)
    agree = (one * other).ravel().astype(np.float64)
    return tau_b(agree, (one != 0).ravel(), (other != 0).ravel(), couple)
