"""From answers and their scores to a number of each prompt, and from these to what is known of a policy.

G prompts, K answers of each. Arrays (G,) float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from accord.evaluate.frontier.drawn import Drawn
from accord.maths.best_of_n import expected_of_best_of_n
from accord.maths.cluster_bootstrap import percentile_interval
from accord.maths.overoptimisation import resampled_columns
from accord.maths.statistics import Estimate

Floats = NDArray[np.float64]
FIGURES = ("proxy", "gold", "k3", "k1", "tokens", "ended")


class Answered(NamedTuple):
    """A policy's answers, and what proxy and gold say of each of them: (G, K); gold: None where there is none."""

    drawn: Drawn
    proxy: list[list[float]]
    gold: list[list[float]] | None


class Columns(NamedTuple):
    """Means over each prompt's answers, by figure, of FIGURES those that there are."""

    id: list[str]
    of: Mapping[str, Floats]


def of_policy(answered: Answered) -> Columns:
    """The plain means over a policy's own answers."""
    return Columns(answered.drawn.id, {name: rows.mean(1).numpy() for name, rows in _rows(answered).items()})


def of_best_of_n(answered: Answered, n: int) -> Columns:
    """What to expect of the best of n by the proxy, over all choices of n of the model's own answers.

    The answers have no distance of their own: k1 and k3 are left out.
    """
    rows = _rows(answered)
    rewards = rows["proxy"]
    chosen = {name: rows[name] for name in rows if name not in ("k1", "k3")}
    return Columns(
        answered.drawn.id, {name: expected_of_best_of_n(rewards, one, n).numpy() for name, one in chosen.items()}
    )


def _rows(answered: Answered) -> dict[str, torch.Tensor]:
    """(G, K) float64 each."""
    drawn = answered.drawn
    found: dict[str, object] = {"proxy": answered.proxy}
    found |= {"gold": answered.gold} if answered.gold is not None else {}
    found |= {"k3": drawn.k3, "k1": drawn.k1, "tokens": drawn.tokens, "ended": drawn.ended}
    return {name: torch.tensor(one, dtype=torch.float64) for name, one in found.items()}


class Resampled(NamedTuple):
    """Figures of one policy: the estimate of each, and its mean in every resample of the prompts, (R,)."""

    estimates: Mapping[str, Estimate]
    draws: Mapping[str, Floats]


def resampled(columns: Sequence[Columns], *, rounds: int, seed: int, level: float) -> list[Resampled]:
    """Of several policies on the same prompts, which are resampled for all of them together (G of G, R times).

    Standard errors are the standard deviation of the resamples, intervals their percentiles.
    """
    table = np.stack([one for policy in columns for one in policy.of.values()], axis=1)
    draws = iter(resampled_columns(table, rounds, seed).T)
    found = []
    for policy in columns:
        own = {name: next(draws) for name in policy.of}
        estimates = {name: _estimate(policy.of[name], own[name], level) for name in own}
        found.append(Resampled(estimates, own))
    return found


def _estimate(values: Floats, draws: Floats, level: float) -> Estimate:
    interval = percentile_interval(draws, len(values), level)
    return Estimate(float(values.mean()), float(draws.std(ddof=1)), interval)
