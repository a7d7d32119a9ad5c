"""Losses on pairs of completions, DPO first, in one table.

P pairs. Every loss takes `(policy, reference, length, *, hyper-parameters)`: summed log-probabilities in nats (P,)
under the model that learns and under the frozen one, and lengths in tokens (P,); it returns one loss per pair.
A new loss is a function, a row of PAIR_LOSSES, and a value worked out by hand in `tests/test_preference.py`.
"""

import inspect
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


class Pair(NamedTuple):
    """One number for each side of P comparisons."""

    chosen: Tensor  # (P,)
    rejected: Tensor  # (P,)


def dpo(policy: Pair, reference: Pair, length: Pair, *, beta: float = 0.1) -> Tensor:
    """(P,) -log sigma(beta h), h = log pi/pi_ref of the chosen minus that of the rejected. Eq. 12.

    Rafailov et al. 2023, Eq. 7.
    """
    return -logsigmoid(beta * log_ratio_gap(policy, reference))


def log_ratio_gap(policy: Pair, reference: Pair) -> Tensor:
    """(P,) h, the argument of sigma in Eq. 12 without beta; 0 while policy and reference are equal."""
    return (policy.chosen - reference.chosen) - (policy.rejected - reference.rejected)


def implicit_reward(policy: Pair, reference: Pair, length: Pair, *, beta: float) -> Pair:
    """(P,) each: r^ = beta log(pi(y|x) / pi_ref(y|x)), Eq. 11 without its beta log Z(x), which a pair cancels."""
    return Pair(beta * (policy.chosen - reference.chosen), beta * (policy.rejected - reference.rejected))


def gradient_weight(policy: Pair, reference: Pair, *, beta: float) -> Tensor:
    """(P,) sigma(r^_l - r^_w), the weight in DPO's gradient, Eq. 13: near 1 where the implicit reward is wrong."""
    return torch.sigmoid(-beta * log_ratio_gap(policy, reference))


class PairLoss(NamedTuple):
    """What is known of a pair loss. `loss`, `reward` and `at_start` take the loss's own hyper-parameters by name."""

    loss: Callable[..., Tensor]  # (policy, reference, length, *, ...) -> (P,)
    reward: Callable[..., Pair]  # (policy, reference, length, *, ...) -> Pair of (P,): what `rewards/...` reports
    at_start: Callable[..., float]  # (*, ...) -> the loss of a pair while policy = reference
    needs_reference: bool
    implicit_reward: str  # the reward it fits, as a formula
    optimum: str  # the policy it ends in on unlimited Bradley-Terry comparisons of rewards r
    source: str


PAIR_LOSSES: dict[str, PairLoss] = {
    "sigmoid": PairLoss(
        loss=dpo,
        reward=implicit_reward,
        at_start=lambda beta: math.log(2.0),
        needs_reference=True,
        implicit_reward="beta log(pi(y|x) / pi_ref(y|x))",
        optimum="pi_ref(y|x) exp(r(x, y) / beta) / Z(x)",
        source="Rafailov et al. 2023, Direct Preference Optimization, Eq. 7",
    ),
}


def hyperparameters(name: str) -> dict[str, float]:
    """The hyper-parameters of a pair loss and their defaults. They live in its signature only."""
    parameters = inspect.signature(PAIR_LOSSES[name].loss).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
