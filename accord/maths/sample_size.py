"""How many prompts a win rate needs. Rates and differences in 0..1. scipy only."""

from __future__ import annotations

import math

from scipy.special import ndtri


def outcome_variance(win_rate: float = 0.5, ties: float = 0.0) -> float:
    """Of an outcome in {0, 1/2, 1} with this mean and share of ties: w (1 - w) - t / 4."""
    return max(0.0, win_rate * (1 - win_rate) - ties / 4)


def half_width(n: float, variance: float = 0.25, level: float = 0.95) -> float:
    """Of the interval that n outcomes of this variance give: z sqrt(variance / n)."""
    return float(ndtri(0.5 + level / 2)) * math.sqrt(variance / n)


def n_for_half_width(half: float, variance: float = 0.25, level: float = 0.95) -> int:
    """Outcomes for an interval of mean +- half."""
    return _whole((float(ndtri(0.5 + level / 2)) / half) ** 2 * variance)


def n_to_detect(difference: float, variance: float = 0.25, level: float = 0.95, power: float = 0.8) -> int:
    """Outcomes with which a mean that is off by `difference` is found to be off with chance `power`, at 1 - level."""
    reach = float(ndtri(0.5 + level / 2)) + float(ndtri(power))
    return _whole((reach / difference) ** 2 * variance)


def detectable(n: float, variance: float = 0.25, level: float = 0.95, power: float = 0.8) -> float:
    """The smallest difference that n outcomes find with chance `power`."""
    return (float(ndtri(0.5 + level / 2)) + float(ndtri(power))) * math.sqrt(variance / n)


def _whole(n: float) -> int:
    return max(2, math.ceil(n - 1e-9 * n))  # a whole number that rounding put a hair above itself stays it
