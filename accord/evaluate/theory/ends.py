"""A row of the table from a policy that a method came to, and from the one that was claimed."""

from __future__ import annotations

import time
from typing import NamedTuple

from torch import Tensor

from accord.evaluate.theory.found import Found, verdict
from accord.evaluate.theory.world import World
from accord.maths.optimum import expected_reward, kl, optimum

EXACT = 1e-9  # nats; of expected steps, which are exact but for rounding


class Meant(NamedTuple):
    """What is known of a method before it runs."""

    method: str
    kind: str
    claim: str
    beta: float
    note: str = ""


def row_of(
    world: World, meant: Meant, policy: Tensor, claimed: Tensor, begun: float, *, within: float = EXACT
) -> Found:
    """policy, claimed: (G, S) log-probabilities. within: how far, in nats, it may be from the claim.

    begun: the time (seconds, of time.perf_counter) at which the method began.
    """
    best = optimum(world.reference, world.reward, beta=meant.beta)
    off = float(kl(claimed, policy).mean())
    return Found(
        meant.method,
        meant.kind,
        world.name,
        meant.claim,
        float(kl(best, policy).mean()),
        off,
        float(expected_reward(policy, world.reward).mean()),
        float(kl(policy, world.reference).mean()),
        verdict(abs(off) <= within),
        time.perf_counter() - begun,
        meant.beta,
        meant.note,
        policy,
    )
