"""Looks at every step's loss and gradient for a run that is dead, stands still or runs away."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import Any, NamedTuple

STEPS = 20  # in a row: a gradient that is 0 as long is dead, a loss that is the same stands still
SAME = 1e-6  # relative; one rounding of float32 is 6e-8
FIRST = 10  # steps whose losses say what is usual
TIMES = 10  # as large as the largest of these, and a loss explodes
# What helps where the gradient is 0 for long.
LIFELESS = (
    "a lower learning_rate if the loss is high; if it is low all is learnt, as by hinge beyond its margin, and fewer "
    "steps will do"
)
FLOOR = 1.0  # nats; a loss that begins near 0, or below, is held against this


class Remark(NamedTuple):
    """Something that began with a step and does not end the run."""

    step: int
    what: str

    def __str__(self) -> str:
        return f"step {self.step}: {self.what}"


class Watch:
    """What it has seen survives a checkpoint, so that a resumed run warns as one that was left alone."""

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        saved = saved or {}
        self.losses_tell = True  # whether a loss that stands still or leaps says something
        self.lifeless = LIFELESS
        self.warnings = [Remark(*one) for one in saved.get("warnings", ())]
        self.zeros: int = saved.get("zeros", 0)  # steps in a row with a gradient of 0
        self._since: float | None = saved.get("since")  # the loss that a row of equal ones began with
        self._equal: int = saved.get("equal", 0)  # how many these are
        self._first: list[float] = list(saved.get("first", ()))  # the run's first losses
        self._calm: int = saved.get("calm", STEPS)  # steps in a row within the limit
        self._held_is_finite: bool = saved.get("held_is_finite", True)
        self._told = len(self.warnings)

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint: what `Watch(...)` takes back."""
        return {
            "warnings": [list(one) for one in self.warnings],
            "zeros": self.zeros,
            "since": self._since,
            "equal": self._equal,
            "first": self._first,
            "calm": self._calm,
            "held_is_finite": self._held_is_finite,
        }

    @property
    def is_dead(self) -> bool:
        """Whether the gradient was exactly 0 for so long that nothing will ever be learnt again."""
        return self.zeros >= STEPS

    def see(self, step: int, loss: float, grad_norm: float) -> None:
        """The finite figures of a step, counted from 1, in their order."""
        self.zeros = self.zeros + 1 if grad_norm == 0 else 0
        if self.losses_tell:
            self._stands_still(step, loss)
            self._explodes(step, loss)

    def hear(self, step: int, held_loss: float) -> bool:
        """The held-out loss after a step; True where that begins to be no finite number, which is a warning."""
        was_finite, self._held_is_finite = self._held_is_finite, math.isfinite(held_loss)
        if was_finite and not self._held_is_finite:
            what = f"the held-out loss is {held_loss:g}: some held-out text has a probability that is no number, and "
            self._warn(step, what + "no best step can be told: accord logprobs shows which")
        return was_finite and not self._held_is_finite

    def news(self) -> list[Remark]:
        """The warnings since the last call."""
        new = self.warnings[self._told :]
        self._told = len(self.warnings)
        return new

    def _stands_still(self, step: int, loss: float) -> None:
        if self._since is None or abs(loss - self._since) > SAME * abs(self._since):
            self._since, self._equal = loss, 0
        self._equal += 1
        if self._equal == STEPS:
            what = f"the loss has been {loss:.6g} for {STEPS} steps: either all is learnt, or nothing is, as with a "
            self._warn(step, what + "learning_rate far too low or too high")

    def _explodes(self, step: int, loss: float) -> None:
        if len(self._first) < FIRST:
            self._first.append(loss)
            if len(self._first) == FIRST:
                self._exploded_at_once(step)
            return
        usual = max(self._first)
        if loss <= TIMES * max(usual, FLOOR):
            self._calm += 1
            return
        if self._calm >= STEPS:
            what = f"the loss is {loss:.6g}, and was {usual:.6g} at most in the first {FIRST} steps: if it stays so, "
            self._warn(step, what + "begin again with a lower learning_rate")
        self._calm = 0

    def _exploded_at_once(self, step: int) -> None:
        """Whether the first steps themselves are no measure of what is usual: their median, as batches differ."""
        first, middle = self._first[0], median(self._first[1:])
        if middle > TIMES * max(first, FLOOR):
            what = f"the loss was {first:.6g} in the first step and is about {middle:.6g} since: begin again with a "
            self._warn(step, what + "lower learning_rate, or more warmup_steps")
            self._calm = 0

    def _warn(self, step: int, what: str) -> None:
        self.warnings.append(Remark(step, what))
