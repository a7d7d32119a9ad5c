"""One comparison, a chosen and a rejected completion, and what pair losses share: log-ratios, rewards, defaults.

P pairs. Log-probabilities are in nats, lengths in tokens. rho(y) = log(pi(y|x) / pi_ref(y|x)) is a completion's
log-ratio, and h = rho(y_w) - rho(y_l) the gap between those of a pair.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Pair(NamedTuple):
    """One number for each side of P comparisons."""

    chosen: Tensor  # (P,)
    rejected: Tensor  # (P,)


def log_ratio(policy: Pair, reference: Pair) -> Pair:
    """(P,) each: rho = log(pi(y|x) / pi_ref(y|x)), in nats."""
    return Pair(policy.chosen - reference.chosen, policy.rejected - reference.rejected)


def log_ratio_gap(policy: Pair, reference: Pair) -> Tensor:
    """(P,) h = rho_w - rho_l, the argument of sigma in Eq. 12 without beta; 0 while policy and reference are equal."""
    ratio = log_ratio(policy, reference)
    return ratio.chosen - ratio.rejected


def per_token(sums: Pair, length: Pair) -> Pair:
    """(P,) each: means over the tokens that carry loss; 0 where there is none."""
    return Pair(sums.chosen / length.chosen.clamp(min=1), sums.rejected / length.rejected.clamp(min=1))


def scaled(pair: Pair, factor: float) -> Pair:
    """(P,) each, times a number."""
    return Pair(factor * pair.chosen, factor * pair.rejected)


def implicit_reward(policy: Pair, reference: Pair, length: Pair, *, beta: float, **others: float) -> Pair:
    """(P,) each: r^ = beta log(pi(y|x) / pi_ref(y|x)), Eq. 11 without its beta log Z(x), which a pair cancels.

    others: hyper-parameters of the loss that its reward does not depend on.
    """
    return scaled(log_ratio(policy, reference), beta)


def gradient_weight(policy: Pair, reference: Pair, *, beta: float) -> Tensor:
    """(P,) sigma(r^_l - r^_w), the weight in DPO's gradient, Eq. 13: near 1 where the implicit reward is wrong."""
    return torch.sigmoid(-beta * log_ratio_gap(policy, reference))


def hyperparameters(function: Callable[..., Any]) -> dict[str, float]:
    """The hyper-parameters of a loss or divergence and their defaults. They live in its signature only."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
