"""The scale of an axis: where a value stands, and which values are written beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

STEPS = (1, 2, 2.5, 5, 10)
NEARLY = 0.9  # a rounder step may give one value more than asked for
NOTHING = 1e-11  # values that lie no farther apart are one: numbers beside an axis are rounded to 12 places
ROOM = 0.04  # of the axis, left empty at an end that is not zero


class Scale(NamedTuple):
    """From values `low`..`high` to places `start`..`end` in the picture."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """Of a value; on a logarithmic scale values are above 0."""
        low, high, at = (math.log10(one) if self.log else one for one in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.end - self.start)


def scale(values: Iterable[float], start: float, end: float, *, from_zero: bool = False, log: bool = False) -> Scale:
    """One that shows all of the values, which are finite; and above 0 where it is logarithmic."""
    held = list(values) or [1.0]
    low, high = min(held), max(held)
    if log:
        spread = max((high / low) ** ROOM, 1.05)
        return Scale(low / spread, high * spread, start, end, log=True)
    if from_zero:
        low, high = min(0.0, low), max(0.0, high)
    if high - low <= max(1e-9 * max(abs(low), abs(high)), NOTHING):
        half = 0.1 * abs(low) if abs(low) > 10 * NOTHING else 1.0
        low, high = low - half, high + half
    room = ROOM * (high - low)
    keep_low, keep_high = from_zero and low == 0, from_zero and high == 0
    return Scale(low - room * (not keep_low), high + room * (not keep_high), start, end)


def ticks(axis: Scale, most: int = 5, *, whole: bool = False) -> list[float]:
    """About so many round values within it, in order. whole: no fractions, as of steps."""
    if axis.log:
        powers = range(math.ceil(math.log10(axis.low)), math.floor(math.log10(axis.high)) + 1)
        if len(powers) >= 2:
            return [10.0**power for power in powers][:: -(-len(powers) // most)]
        axis = axis._replace(log=False)
    raw = (axis.high - axis.low) / most
    if whole:
        raw = max(raw, 1.0)
    power = 10.0 ** math.floor(math.log10(raw))
    round_ones = [one * power for one in STEPS if not whole or one * power == int(one * power)]
    step = next(one for one in round_ones if one >= NEARLY * raw)
    first = math.ceil(axis.low / step - 1e-9)
    return [round(one * step, 12) for one in range(first, math.floor(axis.high / step + 1e-9) + 1)]


def written(values: list[float]) -> list[str]:
    """The values as they stand beside an axis: all with the digits that the step between them needs."""
    largest = max(map(abs, values), default=0.0)
    if largest >= 1e5 or 0 < largest < 1e-3:
        return [f"{value:.3g}".replace("e+0", "e").replace("e-0", "e-") for value in values]
    steps = [abs(b - a) for a, b in pairwise(values)] or [largest or 1.0]
    step = min(steps)
    digits = next((digits for digits in range(6) if abs(step * 10**digits - round(step * 10**digits)) < 1e-6), 6)
    return [f"{value:,.{digits}f}" for value in values]
