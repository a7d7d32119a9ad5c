"""Whether a run on comparisons makes the chosen answers unlikely, too: likelihood displacement (Razin et al. 2024).

A pair loss sees only the difference of two log-probabilities, and may lower both. Where that of the chosen ones falls
far, the probability has gone to answers that nobody judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any, NamedTuple

from accord.training.hacking import FIRST, RECENT

CHOSEN = "logps/chosen"
SHARE = 0.05  # of the log-probability at first
LEAST = 1.0  # nats an answer


class Fall(NamedTuple):
    """The mean log-probability of a chosen answer at first and now, in nats. held_out: not of groups trained on."""

    first: float
    now: float
    held_out: bool

    def __str__(self) -> str:
        of = "held-out" if self.held_out else "trained on"
        return (
            f"the log-probability of chosen answers ({of}) fell from {self.first:.1f} to {self.now:.1f} nats: what "
            "became likelier instead was judged by nobody: read samples; a larger beta or --nll_weight holds them"
        )


def chosen_fall(lines: Sequence[Mapping[str, Any]]) -> Fall | None:
    """lines: of metrics.jsonl. None where they did not fall by 5 % and a nat, or there are too few figures to say.

    Held-out figures are of the same texts each time: the first against the last. Others are of other texts each time:
    the mean of the first ten against the median of the last five.
    """
    held = _values(lines, f"eval_{CHOSEN}")
    if len(held) > 1:
        fall = Fall(held[0], held[-1], True)
    else:
        own = _values(lines, CHOSEN)
        if len(own) < FIRST + RECENT:
            return None
        fall = Fall(fmean(own[:FIRST]), median(own[-RECENT:]), False)
    far = max(LEAST, SHARE * abs(fall.first))
    return fall if fall.first - fall.now > far else None


def _values(lines: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [float(line[key]) for line in lines if line.get(key) is not None]
