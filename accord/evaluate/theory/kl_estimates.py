"""k1, k2 and k3 against the exact KL: their means over all completions, and over samples with their standard errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from accord.evaluate.theory.ends import Meant, measured
from accord.evaluate.theory.found import Found
from accord.evaluate.theory.parts import Task
from accord.evaluate.theory.world import BETA, World, logits_of, token_logp
from accord.maths.divergence import k1, k2, k3
from accord.maths.optimum import kl, objective_gradient, optimum

KIND = "estimators"
SAMPLES = 20_000
CLOSE = 1e-12  # of sums over all completions
LARGEST_Z = 4.0

Estimate = Callable[[Tensor, Tensor], Tensor]


class Claim(NamedTuple):
    """What an estimator's mean is, of whole completions. unbiased: the KL; then that of its sum over tokens is, too."""

    estimate: Estimate
    unbiased: bool
    text: str


ESTIMATES: Mapping[str, Claim] = {
    "k1": Claim(k1, True, "mean = KL(pi || pi_ref)"),
    "k2": Claim(k2, False, "mean = E[(log pi / pi_ref)^2] / 2, not the KL"),
    "k3": Claim(k3, True, "mean = KL(pi || pi_ref)"),
}


def tasks(worlds: Sequence[World]) -> list[Task]:
    made = []
    for world in worlds:
        made += [Task(f"{name}, {world.name}", partial(_mean, world, name)) for name in ESTIMATES]
        made += [Task(f"k2 as a loss, {world.name}", partial(_gradient, world))]
    return made


def _mean(world: World, name: str) -> list[Found]:
    """Of pi*, by counting and by sampling."""
    claim = ESTIMATES[name]
    policy = optimum(world.reference, world.reward, beta=BETA)
    exact = kl(policy, world.reference)
    whole = claim.estimate(policy, world.reference)
    mean = (policy.exp() * whole).sum(-1)
    wanted = exact if claim.unbiased else (policy.exp() * (policy - world.reference).square()).sum(-1) / 2
    off = float((mean - wanted).abs().max())
    if claim.unbiased:
        off = max(off, float((_by_token(world, policy, claim.estimate) - exact).abs().max()))
    z, spread = sampled_z(policy, whole, wanted)
    note = (
        f"{float(mean.mean()):.4f}, the KL {float(exact.mean()):.4f}; off by {off:.0e} over all completions"
        f"{', of wholes and token by token' if claim.unbiased else ''}; {SAMPLES:,} samples: z {z:+.1f}, "
        f"one sample's spread {spread:.2f}"
    )
    biased = claim.unbiased or float((mean - exact).abs().max()) > 0.01
    return [measured(world, Meant(name, KIND, claim.text, note=note), off < CLOSE and abs(z) < LARGEST_Z and biased)]


def _by_token(world: World, policy: Tensor, estimate: Estimate) -> Tensor:
    """(G,) the mean of the sum over a completion's tokens."""
    own, reference = (token_logp(world, logits_of(world, side)) for side in (policy, world.reference))
    return (policy.exp() * estimate(own, reference).sum(-1)).sum(-1)


def sampled_z(policy: Tensor, whole: Tensor, exact: Tensor, *, seed: int = 0) -> tuple[float, float]:
    """(G, S) log pi, (G, S) an estimator's values, (G,) its mean -> the z of a mean over samples, and their spread."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.multinomial(policy.exp(), SAMPLES, replacement=True, generator=generator)
    found = whole.gather(-1, chosen) - exact.unsqueeze(-1)
    spread = float(found.std())
    return float(found.mean()) / (spread / found.numel() ** 0.5), spread


def _gradient(world: World) -> list[Found]:
    """k2 of whole samples as a loss: the mean of its gradient is that of the KL, which Eq. 9's has with r = 0."""
    policy = optimum(world.reference, world.reward, beta=BETA)
    exact = -objective_gradient(policy, world.reference, torch.zeros_like(policy), beta=1.0)
    off = {
        name: float((_slope(policy, world.reference, claim) - exact).abs().max()) for name, claim in ESTIMATES.items()
    }
    size = float(exact.abs().max())
    note = ", ".join(f"{name} off by {far / size:.0e}" for name, far in off.items()) + " of the KL's largest slope"
    right = off["k2"] < CLOSE and min(off["k1"], off["k3"]) > 0.01 * size
    claim = "only k2's mean gradient is the KL's"
    return [measured(world, Meant("k1, k2, k3 as losses", KIND, claim, note=note), right)]


def _slope(policy: Tensor, reference: Tensor, claim: Claim) -> Tensor:
    """(G, S) the expected gradient with respect to logits over completions, samples held."""
    logits = policy.clone().requires_grad_()
    total = (policy.exp() * claim.estimate(logits.log_softmax(-1), reference)).sum()
    return torch.autograd.grad(total, logits)[0]
