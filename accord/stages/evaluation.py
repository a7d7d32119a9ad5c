"""Held-out figures, each with its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from accord.data.batches import Batch
from accord.maths.statistics import Estimate, Interval, mean_interval, proportion_interval
from accord.models.logprobs import LanguageModel, resting
from accord.training.fitting import Room
from accord.training.loop import Held, measure
from accord.training.objectives import Objective

PROPORTIONS = ("rewards/accuracies", "mean_token_accuracy", "accuracy", "zero_one_loss", "all_right")
# In metrics.jsonl; summary.json has the interval of every figure.
WITH_INTERVAL = ("loss", *PROPORTIONS, "objective/scores")


class Evaluation(NamedTuple):
    """Held-out figures by name; `groups` is the number of independent clusters (prompts, or packed blocks)."""

    estimates: dict[str, Estimate]
    groups: int

    def flat(self) -> dict[str, float]:
        """Names as in metrics.jsonl: loss, loss_low, loss_high, ..."""
        found: dict[str, float] = {}
        for name, estimate in self.estimates.items():
            found[name] = estimate.mean
            if name in WITH_INTERVAL:
                found[f"{name}_low"], found[f"{name}_high"] = estimate.interval
        return found

    def to_json(self) -> dict[str, Any]:
        """For summary.json and checkpoints; None stands for what the data cannot say."""
        table = {
            name: {
                "mean": estimate.mean,
                "standard_error": _known(estimate.standard_error),
                "interval": [_known(end) for end in estimate.interval],
            }
            for name, estimate in self.estimates.items()
        }
        return {"groups": self.groups, "figures": table}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Evaluation:
        """The reverse of `to_json`."""

        def number(value: float | None) -> float:
            return math.nan if value is None else value

        estimates = {
            name: Estimate(row["mean"], number(row["standard_error"]), Interval(*map(number, row["interval"])))
            for name, row in saved["figures"].items()
        }
        return cls(estimates, saved["groups"])


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def evaluate(
    model: LanguageModel, batches: Iterable[Batch], objective: Objective, room: Room | None = None
) -> Evaluation:
    """The objective's figures on held-out groups, each with a 95 % interval whose clusters are the groups.

    room: what the run knows of memory.
    """
    with resting(model.network):
        held = measure(model, batches, objective, room)
    # Where no completion is labelled bad, nothing is known of the rejected ones.
    known = [name for name in held.values if held.row_weight(name).any()]
    return Evaluation({name: _estimate(name, held) for name in known}, len(set(held.group.tolist())))


def _estimate(name: str, held: Held) -> Estimate:
    interval = proportion_interval if name in PROPORTIONS else mean_interval
    return interval(held.values[name], held.group, held.row_weight(name))
