"""The figures of the steps since the last log line, as one line. It survives a checkpoint: resuming changes none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from accord.training.loop import StepResult


class _Row(NamedTuple):
    """One step in plain numbers."""

    loss: float
    grad_norm: float
    learning_rate: float
    tokens: int
    row_tokens: int
    seconds: float
    sums: dict[str, list[float]]  # name -> [sum, weight]


class Window:
    """Collects steps; `read` gives the line."""

    def __init__(self, saved: list[list[Any]] | None = None) -> None:
        self._rows = [_Row(*row) for row in saved or ()]

    def add(self, result: StepResult) -> None:
        """A step of no groups has nothing to say."""
        if not result.groups:
            return
        self._rows.append(
            _Row(
                result.loss,
                result.grad_norm,
                result.learning_rate,
                result.tokens,
                result.row_tokens,
                result.seconds,
                {name: list(pair) for name, pair in result.sums.items()},
            )
        )

    def to_json(self) -> list[list[Any]]:
        """For a checkpoint: what `Window(...)` takes back."""
        return [list(row) for row in self._rows]

    def read(self) -> dict[str, float]:
        """Names as in metrics.jsonl. loss and grad_norm are means over the steps, the rest over their rows.

        Nothing where no step had groups.
        """
        if not self._rows:
            return {}
        count, seconds = len(self._rows), sum(row.seconds for row in self._rows)
        tokens = sum(row.tokens for row in self._rows)
        return {
            **_means([row.sums for row in self._rows]),
            "loss": sum(row.loss for row in self._rows) / count,
            "grad_norm": sum(row.grad_norm for row in self._rows) / count,
            "learning_rate": self._rows[-1].learning_rate,
            "tokens_per_second": tokens / seconds,
            "seconds_per_step": seconds / count,
            "tokens_saved": 1 - tokens / sum(row.row_tokens for row in self._rows),
        }


def _means(steps: list[Mapping[str, list[float]]] | list[dict[str, list[float]]]) -> dict[str, float]:
    totals: dict[str, list[float]] = {}
    for sums in steps:
        for name, (total, weight) in sums.items():
            held = totals.setdefault(name, [0.0, 0.0])
            held[0] += total
            held[1] += weight
    return {name: total / weight for name, (total, weight) in totals.items() if weight > 0}
