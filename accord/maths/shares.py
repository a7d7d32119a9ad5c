"""The difference of two shares of yes: an interval that does not shrink to a point where neither varies.

Of rare flags the usual interval of a difference says far too much: none of five answers and none of five others would
differ by 0, surely. numpy only.
"""

import math

import numpy as np
from numpy.typing import NDArray

from accord.maths.statistics import Interval, wilson

Floats = NDArray[np.float64]


def are_shares(*columns: Floats) -> bool:
    """Whether all values are no (0) or yes (1)."""
    return all(bool(np.isin(column, (0.0, 1.0)).all()) for column in columns)


def apart(first: Floats, second: Floats, level: float = 0.95) -> Interval:
    """(n,), (m,) of 0 and 1, of different prompts: where mean(first) - mean(second) lies. Newcombe 1998a, method 10."""
    return _around(first, second, 0.0, level)


def paired(first: Floats, second: Floats, level: float = 0.95) -> Interval:
    """(n,), (n,) of 0 and 1, of the same prompts: the same. Newcombe 1998b, method 10.

    phi, the correlation of the two, is drawn to 0 by half a prompt in n if it is above it, and 0 where either does not
    vary.
    """
    both, neither = float(first @ second), float((1 - first) @ (1 - second))
    one, other = float(first @ (1 - second)), float((1 - first) @ second)
    spread = (both + one) * (other + neither) * (both + other) * (one + neither)
    lead = both * neither - one * other
    if lead > 0:
        lead = max(lead - len(first) / 2, 0.0)
    return _around(first, second, lead / math.sqrt(spread) if spread > 0 else 0.0, level)


def _around(first: Floats, second: Floats, phi: float, level: float) -> Interval:
    """From how far each share may lie below and above what was seen, by Wilson's interval."""
    p, q = float(first.mean()), float(second.mean())
    (p_low, p_high), (q_low, q_high) = (wilson(float(one.sum()), len(one), level) for one in (first, second))
    below = _distance(p - p_low, q_high - q, phi)
    above = _distance(p_high - p, q - q_low, phi)
    return Interval(p - q - below, p - q + above)


def _distance(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2))
