"""The losses of reward models in one table: on the pairs of a group, and on whole rankings of it.

P pairs of completions of one prompt. A pair loss takes `(gap, target, margin, *, hyper-parameters)`, each (P,):
g = r_1 - r_2 between the rewards of the pair's first and second completion, t in 0..1, how likely the first is said to
be better (1/2: a tie), and m >= 0, by how much one was said to be better; it returns one loss per pair (P,). A ranking
loss takes rewards and ranks (Q, K), as in `accord.maths.ranking`, and returns (Q,). sigma is the logistic function.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from accord.maths import surrogates
from accord.maths.ranking import ranking_nll


def bradley_terry(gap: Tensor, target: Tensor, margin: Tensor) -> Tensor:
    """(P,) -t log sigma(g - m) - (1 - t) log sigma(-g - m).

    Eq. 5 and 6, the mean over C(K,2) pairs left to the weights of the pairs. With t = 1 and m > 0 it is LLaMA-2's
    (Touvron et al. 2023, Eq. 2), with m = 0 the cross-entropy of sigma(g) with t.
    """
    return either_way(surrogates.logistic, gap, target, margin)


def hinge(gap: Tensor, target: Tensor, margin: Tensor) -> Tensor:
    """(P,) t max(0, 1 - (g - m)) + (1 - t) max(0, 1 - (-g - m)).

    Eq. 14's hinge of the margin g - m.
    """
    return either_way(surrogates.hinge, gap, target, margin)


def exponential(gap: Tensor, target: Tensor, margin: Tensor) -> Tensor:
    """(P,) t exp(-(g - m)) + (1 - t) exp(-(-g - m)).

    Eq. 14's exponential of the margin g - m; RankBoost (Freund et al. 2003). A pair's m multiplies its loss by exp(m).
    Below g - m = -40 it goes on along its tangent, since float32 has no such numbers.
    """
    return either_way(surrogates.exponential, gap, target, margin)


def davidson(gap: Tensor, target: Tensor, margin: Tensor, *, tie_strength: float = 1.0) -> Tensor:
    """(P,) log(e^(g/2) + e^(-g/2) + nu) - (2 t - 1) g / 2 - (1 - |2 t - 1|) log nu, nu = tie_strength > 0.

    -log P of Davidson 1970, where P(first) : P(tie) : P(second) = e^(g/2) : nu : e^(-g/2): a win for t = 1 or 0, a tie
    for t = 1/2. It has no margins: m is not looked at. Equal rewards tie with probability nu / (2 + nu).
    """
    log_nu = math.log(tie_strength)
    ways = torch.stack([gap / 2, -gap / 2, torch.full_like(gap, log_nu)])
    lead = 2 * target - 1
    return ways.logsumexp(0) - lead * gap / 2 - (1 - lead.abs()) * log_nu


def plackett_luce(reward: Tensor, rank: Tensor) -> Tensor:
    """(Q,) -sum_k log(exp r_(k) / sum_{j >= k} exp r_(j)), (k) the k-th best.

    Eq. 7. Two completions: bradley_terry. Of tied ones each is compared with itself and those ranked below it.
    """
    return ranking_nll(reward, rank)


def either_way(surrogate: Callable[[Tensor], Tensor], gap: Tensor, target: Tensor, margin: Tensor) -> Tensor:
    """(P,) t l(g - m) + (1 - t) l(-g - m): a surrogate l of Eq. 14 where the first one is better with chance t."""
    return target * surrogate(gap - margin) + (1 - target) * surrogate(-gap - margin)


def smoothed(target: Tensor, label_smoothing: float) -> Tensor:
    """(P,) eps + (1 - 2 eps) t: what is said, if a share eps of it is said the wrong way round."""
    return label_smoothing + (1 - 2 * label_smoothing) * target


def centring(reward: Tensor, other: Tensor) -> Tensor:
    """(P,) (r_1 + r_2)^2, which holds the rewards of a pair around 0: Eisenstein et al. 2023, Eq. 2."""
    return (reward + other).square()


class RewardLoss(NamedTuple):
    """What is known of a loss of reward models."""

    loss: Callable[..., Tensor]  # of pairs (gap, target, margin, *, ...) -> (P,), of rankings (reward, rank) -> (Q,)
    optimum: str  # the rewards it ends in on unlimited judgements of rewards r
    source: str
    of: Literal["pairs", "rankings"] = "pairs"
    margins: bool = True  # it has a place for by how much one is better
    soft: bool = True  # a target between 0 and 1 says how likely one is better, and is learnt as that


REWARD_LOSSES: dict[str, RewardLoss] = {
    "bradley_terry": RewardLoss(
        bradley_terry,
        optimum="r but for a constant of each prompt; further apart with margins, "
        "of two completions with label_smoothing g = log odds of eps + (1 - 2 eps) P(y_w > y_l)",
        source="Bradley and Terry 1952; Ouyang et al. 2022, InstructGPT, Eq. 1; margins: Touvron et al. 2023, LLaMA-2",
    ),
    "hinge": RewardLoss(
        hinge,
        optimum="the order of r alone; of two completions g = 1 + m for the better one, whatever r_w - r_l > 0",
        source="Eq. 14",
        soft=False,
    ),
    "exponential": RewardLoss(
        exponential,
        optimum="half of r but for a constant of each prompt",
        source="Eq. 14; Freund et al. 2003, RankBoost",
    ),
    "davidson": RewardLoss(
        davidson,
        optimum="r but for a constant of each prompt, where ties are as frequent as nu says",
        source="Davidson 1970, On Extending the Bradley-Terry Model to Accommodate Ties",
        margins=False,
        soft=False,
    ),
    "plackett_luce": RewardLoss(
        plackett_luce,
        optimum="r but for a constant of each prompt, from Plackett-Luce rankings",
        source="Plackett 1975; Eq. 7",
        of="rankings",
        margins=False,
        soft=False,
    ),
}
