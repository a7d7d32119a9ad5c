"""How sure a figure is that is made of all texts together: what it is without each of them. numpy and scipy only."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from accord.maths.statistics import Estimate, Interval

Floats = NDArray[np.float64]


class LeftOut(NamedTuple):
    """A figure of T things together, NaN where they are too few, and (T,) what it is without each of them."""

    value: float
    without: Floats

    def minus(self, other: LeftOut) -> LeftOut:
        """The difference of two figures of the same T things (the prompts of two models), each left out of both."""
        return LeftOut(self.value - other.value, self.without - other.without)


def jackknife(figure: LeftOut, level: float = 0.95) -> Estimate:
    """Tukey 1958: V = (T - 1) / T sum_t (without_t - their mean)^2; the interval is Student's with T - 1 degrees.

    Unlike the bootstrap it repeats nothing, and a text that is there twice would look like a model that repeats itself.
    """
    value, without = figure
    count = len(without)
    if count < 2 or math.isnan(value) or np.isnan(without).any():
        return Estimate(value, math.nan, Interval(math.nan, math.nan))
    off = without - without.mean()
    error = math.sqrt((count - 1) / count * float(off @ off))
    half = float(stdtrit(count - 1, 0.5 + level / 2)) * error
    return Estimate(value, error, Interval(value - half, value + half))
