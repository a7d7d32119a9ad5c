"""Where k3 of tokens in the loss leads, worked out on paper: the fixed point of GRPO as published.

At each beginning b and for each token v let w = E[1/|y|] and m = E[A(y)/|y|] over the policy's own completions that go
through b with v (1/|y| is 1 where the loss is a sum over tokens). The expected gradient with respect to the logits at b
vanishes where m - beta w (1 - pi_ref(v|b) / pi(v|b)) is one number c of the beginning, since k3 has the slope
1 - pi_ref/pi. So

    pi(v|b) = pi_ref(v|b) beta w / (beta w - m + c),

a hyperbola where equation 10 has an exponential (Vojnovic and Yun 2025 find the same without lengths). m and w depend
on the policy, so this is repeated until it stays. Nothing here is shared with the losses that are held against it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from accord.evaluate.theory.world import World, logits_of, logp

Advantage = Callable[[Tensor], Tensor]  # (G, S) pi -> (G, S) E[A of y beside samples of pi]


def k3_end(world: World, advantage: Advantage, *, beta: float, by_length: bool) -> Tensor:
    """(G, S) log pi where the mean of `advantage` less beta k3 of each token, over the length or not, has no slope."""
    share = 1 / world.length.double() if by_length else torch.ones_like(world.reward)
    reference = logits_of(world, world.reference)
    logits = reference
    for _ in range(2000):
        policy = logp(world, logits).exp()
        through = torch.where(world.taken, policy[:, None, None, :], 0.0)  # (G, B, V, S)
        every = through.sum(-1)
        w = (through * share[:, None, None, :]).sum(-1) / every
        m = (through * (share * advantage(policy))[:, None, None, :]).sum(-1) / every
        new = ((logits + _solved(reference, beta * w, m)) / 2).log_softmax(-1)
        if float((new - logits).abs().max()) < 1e-10:
            return logp(world, new)
        logits = new
    raise AssertionError("no fixed point was come to")


def _solved(reference: Tensor, bw: Tensor, m: Tensor) -> Tensor:
    """(G, B, V) log of pi_ref bw / (bw - m + c), with c by bisection such that it sums to 1: it falls as c grows."""
    chance = reference.exp()
    low = (m - bw).amax(-1, keepdim=True)  # where a denominator is 0
    high = low + bw.amax(-1, keepdim=True) * chance.shape[-1] + (m.amax(-1, keepdim=True) - m.amin(-1, keepdim=True))
    for _ in range(60):
        c = (low + high) / 2
        above = (chance * bw / (bw - m + c)).sum(-1, keepdim=True) > 1
        low, high = torch.where(above, c, low), torch.where(above, high, c)
    return (chance * bw / (bw - m + high)).log().log_softmax(-1)


def over_the_spread(reward: Tensor, samples: int, *, epsilon: float = 1e-4) -> Advantage:
    """A = (r - mean) / (std + epsilon) of K samples, std over K - 1, in the mean over the K - 1 others."""
    count = reward.shape[-1]
    others = torch.cartesian_prod(*[torch.arange(count)] * (samples - 1)).reshape(-1, samples - 1)
    own = torch.arange(count)[:, None].expand(-1, len(others))
    beside = reward[:, others][:, None].expand(-1, count, -1, -1)
    group = torch.cat([reward[:, own][..., None], beside], -1)  # (G, S, M, K), the completion meant first
    middle = group.mean(-1, keepdim=True)
    spread = ((group - middle).square().sum(-1) / (samples - 1)).sqrt()
    found = (group[..., 0] - middle[..., 0]) / (spread + epsilon)
    return lambda policy: (found * policy[:, others].prod(-1)[:, None]).sum(-1)


def less_the_others(reward: Tensor) -> Advantage:
    """A = r less the mean of the others, in the mean: r - E[r]."""
    return lambda policy: reward - (policy * reward).sum(-1, keepdim=True)
