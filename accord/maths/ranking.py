"""Losses on rankings of K completions of one prompt.

Q rankings of at most K completions. Every loss takes `(policy, reference, length, rank, *, hyper-parameters)`: summed
log-probabilities in nats, lengths in tokens and ranks, each (Q, K); rank 1 is best, equal ranks are ties, and 0 marks a
place without a completion, whose other numbers do not matter. It returns one loss per ranking (Q,).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from accord.maths import pair_ends
from accord.maths.ends import Claim, policy


def plackett_luce(policy: Tensor, reference: Tensor, length: Tensor, rank: Tensor, *, beta: float = 0.1) -> Tensor:
    """(Q,) -sum_k log(exp r^_(k) / sum_{j >= k} exp r^_(j)), r^ = beta log(pi(y|x) / pi_ref(y|x)), (k) the k-th best.

    Eq. 7 with Eq. 11's rewards, whose beta log Z(x) cancels; Rafailov et al. 2023, Eq. 20 (appendix A.3). Two
    completions: exactly DPO. Of tied ones each is compared with itself and those ranked below it, not with each
    other: the paper has no ties.
    """
    return ranking_nll(log_ratio_reward(policy, reference, length, rank, beta=beta), rank)


def ranking_nll(reward: Tensor, rank: Tensor) -> Tensor:
    """(Q, K), (Q, K) -> (Q,) -log P of the rankings, P = prod_k exp r_(k) / sum_{j >= k} exp r_(j), Eq. 7.

    (k) is the k-th best; ties and places without a completion as in plackett_luce, whatever reward stands there.
    """
    present = rank > 0
    reward = torch.where(present, reward, 0.0)
    # (Q, K, K): for the completion in the second place, which ones in the third it is chosen from.
    rivals = (rank.unsqueeze(-2) > rank.unsqueeze(-1)) | torch.eye(rank.shape[-1], dtype=torch.bool, device=rank.device)
    chosen_from = reward.unsqueeze(-2).masked_fill(~rivals, -torch.inf)
    return ((chosen_from.logsumexp(-1) - reward) * present).sum(-1)


def log_ratio_reward(
    policy: Tensor, reference: Tensor, length: Tensor, rank: Tensor, *, beta: float, **others: float
) -> Tensor:
    """(Q, K) beta log(pi(y|x) / pi_ref(y|x)), Eq. 11 without its beta log Z(x); 0 where there is no completion."""
    return torch.where(rank > 0, beta * (policy - reference), 0.0)


def equal_chances(rank: Tensor, *, beta: float) -> Tensor:
    """(Q, K) -> (Q,) Plackett-Luce while all rewards are equal: the sum of the logs of how many each is chosen from."""
    below = (rank.unsqueeze(-2) > rank.unsqueeze(-1)).sum(-1)
    return (torch.log1p(below.double()) * (rank > 0)).sum(-1)


class RankingLoss(NamedTuple):
    """What is known of a ranking loss. Its functions take the loss's own hyper-parameters by name."""

    loss: Callable[..., Tensor]  # (policy, reference, length, rank, *, ...) -> (Q,)
    optimum: str  # the policy it ends in on unlimited Plackett-Luce rankings of rewards r
    source: str
    at_start: Callable[..., Tensor]  # (rank, *, ...) -> (Q,) float64, the loss while policy = reference
    implicit_reward: str = "beta log(pi(y|x) / pi_ref(y|x))"
    reward: Callable[..., Tensor] = log_ratio_reward  # (policy, reference, length, rank, *, ...) -> (Q, K)
    needs_reference: bool = True
    coupled: bool = False
    claim: Claim | None = None  # what `optimum` says, for `accord theory` to check


RANKING_LOSSES: dict[str, RankingLoss] = {
    "plackett_luce": RankingLoss(
        plackett_luce,
        optimum="pi* = pi_ref(y|x) exp(r(x, y) / beta) / Z(x)",
        source="Rafailov et al. 2023, Direct Preference Optimization, Eq. 20",
        at_start=equal_chances,
        claim=policy(pair_ends.dpo),
    ),
}
