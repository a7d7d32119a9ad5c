"""What every judge is, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from accord.evaluate.verdicts import Matched, Verdict


class Judge(Protocol):
    """Says of two answers to one prompt which is better."""

    @property
    def name(self) -> str:
        """As tables and files of verdicts have it."""

    def judge(self, matched: Sequence[Matched]) -> list[Verdict]:
        """A verdict for each, in their order. What it cannot say is a verdict without outcome, never a tie.

        AccordError where the judge as a whole is of no use.
        """

    def lines(self) -> Iterable[str]:
        """What is to be said of its work afterwards, as what it cost."""
