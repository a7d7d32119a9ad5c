"""Held-out figures, each with its uncertainty."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from accord.data.batches import Batch
from accord.maths.statistics import Estimate, mean_interval, proportion_interval
from accord.models.logprobs import LanguageModel
from accord.training.loop import Held, measure
from accord.training.objectives import Objective

PROPORTIONS = ("rewards/accuracies", "mean_token_accuracy")
WITH_INTERVAL = ("loss", *PROPORTIONS)  # in metrics.jsonl; summary.json has the interval of every figure


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


def evaluate(model: LanguageModel, batches: Iterable[Batch], objective: Objective) -> Evaluation:
    """The objective's figures on held-out groups, each with a 95 % interval whose clusters are the groups."""
    training = model.network.training
    model.network.eval()
    held = measure(model, batches, objective)
    model.network.train(training)
    return Evaluation({name: _estimate(name, held) for name in held.values}, len(set(held.group.tolist())))


def _estimate(name: str, held: Held) -> Estimate:
    interval = proportion_interval if name in PROPORTIONS else mean_interval
    return interval(held.values[name], held.group, held.weight)
