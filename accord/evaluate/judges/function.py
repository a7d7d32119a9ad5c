"""A Python function as a judge: it gets pairs of answers, and gives an outcome for each.

None of an answer is a verdict that failed. Whatever else is no number of 0 to 1 ends all: nothing is made of it.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from accord.errors import AccordError, Diverged, InputError, ran_out_of_memory
from accord.evaluate.verdicts import Matched, Verdict

Function = Callable[[list[Matched]], Sequence[float | None]]
PROTOCOL = "it gets a list of pairs of answers (first, second), and gives for each how far the first is better, 0 to 1"
SILENT = "the function gave None"


@dataclass(frozen=True)
class FunctionJudge:
    """name: as it was written, `module:function`, or the function's own."""

    name: str
    function: Function

    def judge(self, matched: Sequence[Matched]) -> list[Verdict]:
        """InputError: it fails. Diverged: it does not give as many outcomes, or one that is none."""
        found: Any = self._called(list(matched))
        if hasattr(found, "tolist"):  # of an array or a tensor
            found = found.tolist()
        if not isinstance(found, list | tuple):
            raise Diverged(f"gave {_shown(found)}, not a list of {len(matched)}", where=self.name, fix=PROTOCOL)
        if len(found) != len(matched):
            raise Diverged(f"gave {len(found)} outcomes for {len(matched)} pairs", where=self.name, fix=PROTOCOL)
        return [self._verdict(value, one) for value, one in zip(found, matched, strict=True)]

    def lines(self) -> Sequence[str]:
        return ()

    def _called(self, matched: list[Matched]) -> object:
        try:
            return self.function(matched)
        except Exception as error:  # whatever it is, the function has caused it
            if isinstance(error, AccordError) or ran_out_of_memory(error):
                raise
            frame = traceback.extract_tb(error.__traceback__)[-1]
            line = " ".join(str(error).split())[:300]
            what = f"failed with {type(error).__name__}{': ' + line if line else ''} ({frame.filename}:{frame.lineno})"
            raise InputError(what, where=self.name, fix="mend the function") from error

    def _verdict(self, value: Any, one: Matched) -> Verdict:
        if hasattr(value, "item") and getattr(value, "shape", None) == ():
            value = value.item()
        if value is None:
            return Verdict(None, SILENT, annotator=self.name)
        if not isinstance(value, Real) or not math.isfinite(value) or not 0 <= float(value) <= 1:
            where = f"{self.name}: prompt {one.id}"
            raise Diverged(f"gave {_shown(value)}, which is no outcome", where=where, fix=PROTOCOL)
        return Verdict(float(value), annotator=self.name)


def _shown(value: object) -> str:
    line = " ".join(repr(value).split())
    return f"{line[:60]}{'...' if len(line) > 60 else ''} ({type(value).__name__})"
