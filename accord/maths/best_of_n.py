"""The best of n samples: the reward to expect of it, and how far it goes from the policy that wrote them."""

import math

import torch
from torch import Tensor


def expected_best_of_n(rewards: Tensor, n: int) -> Tensor:
    """(..., N) rewards of N samples, n <= N -> (...) the mean over all n of them of the largest, in float64.

    sum_i C(i-1, n-1) / C(N, n) r_(i), r_(i) the i-th smallest: unbiased, and of less variance than cutting N into
    groups of n (Nakano et al. 2021, WebGPT, appendix I). n = 1 is the mean. ValueError: n not in 1..N.
    """
    return rewards.double().sort(-1).values @ chance_of_being_best(rewards.shape[-1], n).to(rewards.device)


def chance_of_being_best(samples: int, n: int) -> Tensor:
    """(N,) float64: how likely the i-th smallest of N is the largest of n drawn without replacement.

    C(i-1, n-1) / C(N, n), from the top: n / N for the largest, and each next one (i-n) / (i-1) times it, so that no
    binomial is ever computed.
    """
    if not 1 <= n <= samples:
        raise ValueError(f"the best of {n} cannot be told from {samples} samples")
    above = torch.arange(samples, 1, -1, dtype=torch.float64)
    falling = torch.cat([above.new_tensor([n / samples]), ((above - n) / (above - 1)).clamp(min=0)])
    return falling.cumprod(0).flip(0)


def kl_best_of_n(n: int) -> float:
    """ln n - (n - 1) / n, in nats: KL(best of n || policy) where no two samples score the same.

    Stiennon et al. 2020, appendix G.3. An upper bound where samples repeat or tie (Beirami et al. 2024).
    ValueError: n < 1.
    """
    if n < 1:
        raise ValueError(f"the best of {n} samples is none")
    return math.log(n) - (n - 1) / n


def expected_of_best_of_n(rewards: Tensor, values: Tensor, n: int) -> Tensor:
    """(..., N) rewards of N samples, (..., N) another number of each -> (...) that number's mean over the best of n.

    The mean over all n of the N samples, in float64; where rewards are equal, any of them is the best as often. With
    the rewards themselves as values it is `expected_best_of_n`. ValueError: n not in 1..N.
    """
    rows = rewards.double().contiguous()
    below = torch.cat([torch.zeros(1, dtype=torch.float64), chance_of_being_best(rows.shape[-1], n).cumsum(0)])
    ordered = rows.sort(-1).values
    first, last = (torch.searchsorted(ordered, rows, right=right) for right in (False, True))
    below = below.to(rows.device)
    chance = (below[last] - below[first]) / (last - first)
    return (chance * values.double()).sum(-1)
