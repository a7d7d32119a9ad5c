"""The exact optimum of the objective of alignment, on completions that can all be counted. Equations 9 to 11.

S completions are all that a prompt has; the last dimension runs over them, those before it over prompts. Policies are
log-probabilities in nats, normalised, float64 where digits matter; minus infinity is a completion that cannot occur.
"""

from typing import NamedTuple

import torch
from torch import Tensor


def optimum(reference: Tensor, reward: Tensor, *, beta: float) -> Tensor:
    """(..., S), (..., S) -> (..., S) log pi*, pi* = pi_ref exp(r / beta) / Z. Eq. 10."""
    return (reference + reward / beta).log_softmax(-1)


def log_partition(reference: Tensor, reward: Tensor, *, beta: float) -> Tensor:
    """(..., S), (..., S) -> (...) log Z, Z = sum_y pi_ref exp(r / beta). Eq. 10.

    beta log Z is the most that Eq. 9 can be, since `objective` is beta log Z - beta KL(pi || pi*).
    """
    return (reference + reward / beta).logsumexp(-1)


def implicit_reward(policy: Tensor, reference: Tensor, log_z: Tensor, *, beta: float) -> Tensor:
    """(..., S), (..., S), (...) -> (..., S) beta log(pi / pi_ref) + beta log Z, whose optimum pi is. Eq. 11."""
    return beta * (policy - reference + log_z.unsqueeze(-1))


def expected_reward(policy: Tensor, reward: Tensor) -> Tensor:
    """(..., S), (..., S) -> (...) E_{y ~ pi}[r(y)]."""
    return (policy.exp() * reward).sum(-1)


def kl(policy: Tensor, reference: Tensor) -> Tensor:
    """(..., S), (..., S) -> (...) KL(policy || reference) in nats, with 0 log 0 = 0.

    Infinite where the policy has a completion that the reference has not.
    """
    return torch.where(policy > -torch.inf, policy.exp() * (policy - reference), 0.0).sum(-1)


def objective(policy: Tensor, reference: Tensor, reward: Tensor, *, beta: float) -> Tensor:
    """(..., S) three times -> (...) E_{y ~ pi}[r(y)] - beta KL(pi || pi_ref), what Eq. 9 makes greatest."""
    return expected_reward(policy, reward) - beta * kl(policy, reference)


def objective_gradient(policy: Tensor, reference: Tensor, reward: Tensor, *, beta: float) -> Tensor:
    """(..., S) three times -> (..., S) the gradient of Eq. 9 with respect to logits z, pi = softmax(z) over S.

    pi (g - E_pi[g]), g = r - beta log(pi / pi_ref): Eq. 15 with the KL's own part; the derivative of log pi has the
    mean 0. It vanishes at pi*, where g is beta log Z for every completion, and at policies of one completion alone.
    """
    gain = torch.where(policy > -torch.inf, reward - beta * (policy - reference), 0.0)
    chance = policy.exp()
    return chance * (gain - (chance * gain).sum(-1, keepdim=True))


class Frontier(NamedTuple):
    """The most reward that a KL can buy: B points, one of each beta. No policy lies above the curve."""

    beta: Tensor  # (B,)
    reward: Tensor  # (B, ...) E[r] under pi*
    kl: Tensor  # (B, ...) KL(pi* || pi_ref), nats


def frontier(reference: Tensor, reward: Tensor, betas: Tensor) -> Frontier:
    """(..., S), (..., S), (B,) -> the optimum's reward and KL as beta runs. Its slope, d reward / d KL, is beta."""
    best = torch.stack([optimum(reference, reward, beta=beta) for beta in betas.tolist()])
    return Frontier(betas, expected_reward(best, reward), kl(best, reference))


def best_of_n(reference: Tensor, reward: Tensor, n: int) -> Tensor:
    """(..., S), (..., S) -> (..., S) log pi_n: the best of n samples of the reference, the first of several.

    pi_n(y) = pi_ref(y) (F^n - G^n) / (F - G), F the chance of a sample no better than y and G that of a worse one:
    exact with ties, which share their chance as the reference does. ValueError: n < 1.
    """
    if n < 1:
        raise ValueError(f"the best of {n} samples is none")
    other, own = reward.unsqueeze(-2), reward.unsqueeze(-1)  # (..., S, S): the completion meant, then those beside it
    chances = reference.unsqueeze(-2)
    no_better = torch.where(other <= own, chances, -torch.inf).logsumexp(-1)
    as_good = torch.where(other == own, chances, -torch.inf).logsumexp(-1)
    # log(G / F). In it, (F^n - G^n) / (F - G) is F^(n-1) (1 - q^n) / (1 - q), which keeps its digits near q = 1.
    log_q = torch.log1p(-(as_good - no_better).exp().clamp(max=1))
    share = torch.where(log_q < 0, torch.expm1(n * log_q) / torch.expm1(log_q), float(n))
    return torch.where(reference > -torch.inf, reference + (n - 1) * no_better + share.log(), -torch.inf)
