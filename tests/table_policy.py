"""A policy small enough to count: all its completions, their probabilities, and what is exact about them.

Three tokens: the end and two letters. A completion ends with the end or is cut off after T = 3 tokens, so there are
S = 1 + 2 + 4 x 3 = 15 of them. The policy is a table of logits (B, V): a row for each of the B = 7 beginnings that a
token may follow, a column for each of the V = 3 tokens.
"""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

END, LENGTH, WORDS = 0, 3, 3
BEGINNINGS = [start for n in range(LENGTH) for start in itertools.product((1, 2), repeat=n)]
COMPLETIONS = [
    (*start, token) for start in BEGINNINGS for token in range(WORDS) if token == END or len(start) == LENGTH - 1
]
S = len(COMPLETIONS)
MASK = torch.tensor([[t < len(y) for t in range(LENGTH)] for y in COMPLETIONS])  # (S, T)
TOKEN = torch.tensor([[*y, *[END] * (LENGTH - len(y))] for y in COMPLETIONS])  # (S, T)
PLACE = torch.tensor(  # (S, T) which beginning each token follows; 0 in the padding
    [[BEGINNINGS.index(y[:t]) if t < len(y) else 0 for t in range(LENGTH)] for y in COMPLETIONS]
)
BEYOND = torch.tensor([[y[: len(start)] == start for y in COMPLETIONS] for start in BEGINNINGS])  # (B, S)


def random_logits(seed: int) -> Tensor:
    """(B, V) float64."""
    generator = torch.Generator().manual_seed(seed)
    return 0.7 * torch.randn(len(BEGINNINGS), WORDS, generator=generator, dtype=torch.float64)


def random_rewards(seed: int) -> Tensor:
    """(S,) float64."""
    return torch.randn(len(COMPLETIONS), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def token_logp(logits: Tensor) -> Tensor:
    """(B, V) -> (S, T) log pi of each token of each completion, 0 in the padding."""
    return torch.where(MASK, logits.log_softmax(-1)[PLACE, TOKEN], 0.0)


def logp(logits: Tensor) -> Tensor:
    """(B, V) -> (S,) log pi(y)."""
    return token_logp(logits).sum(-1)


def reached(logits: Tensor) -> Tensor:
    """(B, V) -> (B,) how likely a completion is to get to each beginning."""
    step = logits.softmax(-1)
    return torch.stack(
        [
            torch.stack([step[BEGINNINGS.index(start[:t]), token] for t, token in enumerate(start)]).prod()
            if start
            else step[0].sum()
            for start in BEGINNINGS
        ]
    )


def next_token_kl(logits: Tensor, other: Tensor) -> Tensor:
    """(B, V) twice -> (B,) KL(pi(. | beginning) || other(. | beginning)), as torch computes it."""
    return kl_divergence(Categorical(logits=logits), Categorical(logits=other))


def kl(logits: Tensor, other: Tensor) -> Tensor:
    """() KL(pi || other) of completions, by the chain rule over beginnings."""
    return (reached(logits) * next_token_kl(logits, other)).sum()


def remaining_value(reference: Tensor, reward: Tensor, beta: float) -> Tensor:
    """(B,) the most that E[r] - beta KL can be from there on: beta log sum_y pi_ref(y | beginning) exp(r(y) / beta)."""
    weight = torch.where(BEYOND, logp(reference) + reward / beta, -torch.inf).logsumexp(-1)
    return beta * (weight - reached(reference).log())


def optimum(reference: Tensor, reward: Tensor, beta: float) -> Tensor:
    """(S,) pi* = pi_ref exp(r / beta) / Z, Eq. 10."""
    return (logp(reference) + reward / beta).softmax(-1)


def distance(target: Tensor, logits: Tensor) -> float:
    """KL(target || pi), target: probabilities of completions (S,)."""
    return (target * (target.log() - logp(logits))).sum().item()


def slope(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """(B, V) the gradient of a number."""
    logits = at.clone().requires_grad_()
    return torch.autograd.grad(function(logits), logits)[0]


def mean_slope(loss: Callable[[Tensor], Tensor], at: Tensor, sampler: Tensor | None = None) -> Tensor:
    """(B, V) the expected gradient of a loss of samples from the policy itself, or from another one."""
    chance = logp(at if sampler is None else sampler).exp()
    return slope(lambda logits: (chance * loss(logits).reshape(S, -1).sum(-1)).sum(), at)


def in_groups(advantage: Callable[[Tensor], Tensor], reward: Tensor, k: int, at: Tensor) -> Tensor:
    """(S,) p(y) E[advantage of y | y in a group of k samples of the policy]: over all S^k groups."""
    group = torch.cartesian_prod(*[torch.arange(S)] * k)
    chance = logp(at).exp()[group].prod(-1, keepdim=True)
    share = chance / k * advantage(reward[group])
    return torch.zeros(S, dtype=torch.float64).index_add(0, group.flatten(), share.flatten())


def less_the_mean(reward: Tensor) -> Tensor:
    """(n, K) -> (n, K) r minus the mean of all K, itself among them: what leave-one-out is not."""
    return reward - reward.mean(-1, keepdim=True)


BETA = 0.5
REFERENCE, POLICY, REWARD = random_logits(0), random_logits(1), random_rewards(2)
REF_TOKENS, REF_LOGP = token_logp(REFERENCE), logp(REFERENCE)
OPTIMUM = optimum(REFERENCE, REWARD, BETA)
