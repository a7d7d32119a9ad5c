"""Held-out prompts sampled and scored: equation 9 on prompts that nothing was learnt from, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from accord.data.dialogue import TokenGroup
from accord.maths.statistics import mean_interval, proportion_interval
from accord.stages.evaluation import Evaluation
from accord.stages.rl_rollouts import Controls, Maker
from accord.stages.rl_rounds import Clock
from accord.stages.session import Session
from accord.training.rollout import Rollout
from accord.training.shaping import Spread

Figures = Callable[[Sequence[TokenGroup]], Mapping[str, Tensor]]  # prompts -> (C,) figures of samples of them
AT_ONCE = 64  # prompts
DRAW = 2**32 - 1  # a round that no run comes to: every evaluation draws from the same streams


def evaluate_prompts(session: Session, maker: Maker, groups: Sequence[TokenGroup], beta: float) -> Evaluation:
    """Means over the samples of these prompts; `loss` is minus the objective, -(score - beta KL)."""
    maker = replace(maker, once=False)  # no step follows, so that the engine is asked here

    def figures(part: Sequence[TokenGroup]) -> Mapping[str, Tensor]:
        made = maker.sampled(part, DRAW, Clock())
        rollout, _ = maker.rollout(made, Controls(beta, float("nan"), Spread()), Clock())
        return _figures(rollout, beta)

    return estimated(session, groups, figures)


def estimated(session: Session, groups: Sequence[TokenGroup], figures: Figures) -> Evaluation:
    """Means of figures of samples, each with an interval whose clusters are the prompts; AT_ONCE of these at a time."""
    columns: dict[str, list[Tensor]] = {}
    owner: list[int] = []
    for first, part in session.stop.passing(_parts(groups)):
        for name, values in figures(part).items():
            columns.setdefault(name, []).append(values)
        each = len(values) // len(part)
        owner += [first + place for place in range(len(part)) for _ in range(each)]
    found = {name: torch.cat(values).numpy() for name, values in columns.items()}
    shares = {"completions/ended"}
    estimates = {
        name: (proportion_interval if name in shares else mean_interval)(values, np.array(owner))
        for name, values in found.items()
    }
    return Evaluation(estimates, len(groups))


def _parts(groups: Sequence[TokenGroup]) -> Iterator[tuple[int, list[TokenGroup]]]:
    """(the place of the first, the groups)"""
    for start in range(0, len(groups), AT_ONCE):
        yield start, list(groups[start : start + AT_ONCE])


def _figures(rollout: Rollout, beta: float) -> dict[str, Tensor]:
    """(C,) float64 each."""
    samples = rollout.samples
    objective = samples.score - beta * samples.kl
    return {
        "loss": -objective,
        "objective/scores": samples.score,
        "objective/kl": samples.kl,
        "objective/rlhf_reward": objective,
        "completions/mean_length": rollout.ranges.length.double(),
        "completions/ended": samples.ended,
        **{f"rewards/{name}": column for name, column in rollout.sources.items()},
    }
