"""How long models' answers are, and how they ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from accord.evaluate.measured import ends, known
from accord.evaluate.verdicts import Answer, characters
from accord.maths.statistics import Estimate, mean_interval, proportion_interval


class Endings(NamedTuple):
    """Of one model's n answers. ended: the share that came to its end, of those of which it is known; the others were
    cut at the most tokens. None: it is known of none."""

    model: str
    n: int
    characters: Estimate
    ended: Estimate | None
    told: int

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "n": self.n,
            "characters": _shown(self.characters),
            "ended": self.ended and _shown(self.ended),
            "endings_known": self.told,
        }


def endings_of(model: str, answers: Sequence[Answer], level: float) -> Endings:
    """One answer to each prompt."""
    ended = [float(one.ended) for one in answers if one.ended is not None]
    return Endings(
        model,
        len(answers),
        mean_interval([float(characters(one.text)) for one in answers], level=level),
        proportion_interval(ended, level=level) if ended else None,
        len(ended),
    )


def _shown(estimate: Estimate) -> dict[str, Any]:
    mean, error, interval = estimate
    return {"mean": known(mean), "standard_error": known(error), "interval": ends(interval)}
