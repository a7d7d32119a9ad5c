"""Newton's method with the Hessian, for convex functions of some hundreds of numbers. numpy and scipy only."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

Floats = NDArray[np.float64]

ROUNDING = 1e-13  # of the value: what is lower by less is not known to be lower
DESCENT = 1e-4  # Armijo: the share of the descent promised by the slope that a step must bring
HALVINGS = 60


class Point(NamedTuple):
    """A function at one place: infinite where it is not defined, and then without derivatives that mean anything."""

    value: float
    gradient: Floats  # (P,)
    hessian: Floats  # (P, P), positive definite


class Minimum(NamedTuple):
    """Where Newton's method ended, and after how many steps."""

    place: Floats  # (P,)
    at: Point
    steps: int


class NoMinimum(ArithmeticError):
    """The method came to no end: the function falls for ever, or is as flat as rounding."""


def minimise(function: Callable[[Floats], Point], start: Floats, *, within: float = 1e-9, most: int = 200) -> Minimum:
    """The place from which the next step, -H^-1 g, would be shorter than `within` in every coordinate (Eq. 23).

    Far from the minimum a whole step may lead uphill: it is halved until the function falls. Near it whole steps are
    taken, and the number of right digits doubles with each. NoMinimum: after `most` steps there was none.
    """
    place = start
    at = function(place)
    for taken in range(most):
        step = _newton_step(at)
        if not np.isfinite(step).all():
            break
        if np.abs(step).max(initial=0.0) < within:
            return Minimum(place, at, taken)
        if (found := _lower(function, place, at, step)) is None:
            break
        place, at = found
    raise NoMinimum(f"no minimum after {taken + 1} of {most} Newton steps")


def _newton_step(at: Point) -> Floats:
    try:
        return -np.asarray(cho_solve(cho_factor(at.hessian), at.gradient), dtype=np.float64)
    except np.linalg.LinAlgError as error:
        raise NoMinimum("the Hessian is not positive definite") from error


def _lower(function: Callable[[Floats], Point], place: Floats, at: Point, step: Floats) -> tuple[Floats, Point] | None:
    """The first of step, step / 2, step / 4, ... that leads down; None where none does."""
    slope = float(at.gradient @ step)
    slack = ROUNDING * abs(at.value)
    for halvings in range(HALVINGS):
        share = 0.5**halvings
        found = function(place + share * step)
        if found.value <= at.value + DESCENT * share * slope + slack:
            return place + share * step, found
    return None
