"""A row of the table from a policy that a method came to, and from the one that was claimed."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from accord.evaluate.theory.found import Found, verdict
from accord.evaluate.theory.world import BETA, World
from accord.maths.optimum import expected_reward, kl, optimum

EXACT = 1e-9  # nats; of expected steps, which are exact but for rounding


class Meant(NamedTuple):
    """What is known of a method before it runs."""

    method: str
    kind: str
    claim: str
    beta: float = BETA
    note: str = ""


def row_of(world: World, meant: Meant, policy: Tensor, claimed: Tensor, *, within: float = EXACT) -> Found:
    """policy, claimed: (G, S) log-probabilities. within: how far, in nats, it may be from the claim."""
    best = optimum(world.reference, world.reward, beta=meant.beta)
    off = float(kl(claimed, policy).mean())
    return Found(
        method=meant.method,
        kind=meant.kind,
        world=world.name,
        claim=meant.claim,
        kl_from_optimum=float(kl(best, policy).mean()),
        kl_from_claim=off,
        reward=float(expected_reward(policy, world.reward).mean()),
        kl=float(kl(policy, world.reference).mean()),
        verdict=verdict(abs(off) <= within),
        beta=meant.beta,
        note=meant.note,
        policy=policy,
    )


def measured(world: World, meant: Meant, right: bool) -> Found:
    """Of what is no policy: the note says what was measured."""
    return Found(
        meant.method, meant.kind, world.name, meant.claim, None, None, None, None, verdict(right), note=meant.note
    )
