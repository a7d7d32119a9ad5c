"""What one method was found to do in a world, and what it claims: a row of the table of `accord theory`."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

Verdict = Literal["as claimed", "not as claimed"]


class Found(NamedTuple):
    """Where a method ended. Means over the world's prompts; KL in nats; None where there is no such number."""

    method: str
    kind: str  # the section of the table: "pair losses", "reinforcement learning", "estimators", ...
    world: str
    claim: str  # the end that is claimed, as a formula or a short sentence
    kl_from_optimum: float | None  # KL(pi* || pi), pi* of the world's reward and the method's beta
    kl_from_claim: float | None  # KL(claimed || pi), where what is claimed is a policy
    reward: float | None  # E_pi[r]
    kl: float | None  # KL(pi || pi_ref)
    verdict: Verdict
    seconds: float = 0.0
    beta: float | None = None  # of the pi* meant
    note: str = ""  # what was measured beside, or why it ends elsewhere
    policy: Tensor | None = None  # (G, S) log pi, for the pictures
    errors: tuple[tuple[int, float, float | None], ...] = ()  # n samples, KL(pi* || pi) on them, by theory if known


def verdict(right: bool) -> Verdict:
    return "as claimed" if right else "not as claimed"
