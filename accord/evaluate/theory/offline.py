"""Every row of the tables of losses, run to its end on unlimited judgements and held against its claim."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from accord.evaluate.theory.descent import Ended, Loss, descend
from accord.evaluate.theory.ends import Meant, row_of
from accord.evaluate.theory.expected import (
    counted,
    exact,
    of_counted_labels,
    of_counted_pairs,
    of_labels,
    of_pairs,
    of_rankings,
    under,
)
from accord.evaluate.theory.found import Found, verdict
from accord.evaluate.theory.parts import Task
from accord.evaluate.theory.world import BETA, World
from accord.maths.ends import Claim, Setting
from accord.maths.f_divergence import DIVERGENCES
from accord.maths.pair import hyperparameters
from accord.maths.pair_ends import under_divergence
from accord.maths.preference import PAIR_LOSSES
from accord.maths.ranking import RANKING_LOSSES
from accord.maths.unpaired import UNPAIRED_LOSSES

SMALL = 20  # completions, up to which losses that couple a step are run: they need every judgement many times
PROBES, SIZES = 50, (0.1, 0.01)  # policies about an end, none of which may be better, and how far in nats
SETTLED = 1e-6  # of an end at a kink: so much lower a policy near may be


class Method(NamedTuple):
    """A loss, ready to be run."""

    meant: Meant
    claim: Claim
    of: Setting
    hyper: Mapping[str, float]
    loss: Loss
    start: Tensor | None = None  # (G, S) log-probabilities; None: the reference


def hyper_of(function: Callable[..., Any], claim: Claim) -> dict[str, float]:
    """The loss's own defaults, but for beta, which all methods share, and what the claim asks for."""
    defaults = hyperparameters(function)
    shared = {"beta": BETA} if "beta" in defaults else {}
    return {**defaults, **shared, **claim.at}


def found(world: World, method: Method) -> Found:
    """Runs a method to its end."""
    ended = descend(method.loss, world.reference if method.start is None else method.start)
    return CHECKS[method.claim.kind](world, method, ended)


def _at_claim(world: World, method: Method, ended: Ended) -> Found:
    assert method.claim.end is not None
    claimed = method.claim.end(method.of, **method.hyper)
    return row_of(world, method.meant, ended.policy, claimed, within=method.claim.within)


def _left(world: World, method: Method, ended: Ended) -> Found:
    """As _at_claim; some completions are on their way to no probability at all, and pi* has them."""
    row = _at_claim(world, method, ended)
    assert method.claim.end is not None
    lost = method.claim.end(method.of, **method.hyper) == -torch.inf
    still = float(torch.where(lost, ended.policy.exp(), 0.0).sum(-1).max())
    note = f"{int(lost.sum(-1).max())} completions lose everything, and had {still:.0e} when it was stopped"
    return row._replace(kl_from_optimum=math.inf, note=note)


def _gathered(world: World, method: Method, ended: Ended) -> Found:
    """All probability on one completion of each prompt."""
    top = ended.policy.max(-1, keepdim=True).values
    one = torch.where(ended.policy == top, 0.0, -torch.inf)
    names = [world.completions[y] for y in ended.policy.argmax(-1).tolist()]
    meant = method.meant._replace(note="on " + " and ".join(repr(name) for name in names))
    row = row_of(world, meant, ended.policy, one, within=method.claim.within)
    return row._replace(kl_from_optimum=math.inf)


def _resting(world: World, method: Method, ended: Ended) -> Found:
    """No policy near it is better."""
    generator = torch.Generator().manual_seed(0)
    least = float(method.loss(ended.policy))
    lower = 0.0
    for size in SIZES:
        for _ in range(PROBES):
            away = ended.policy + size * torch.randn(ended.policy.shape, generator=generator, dtype=torch.float64)
            lower = max(lower, least - float(method.loss(away)))
    slope = "its slope is 0" if ended.slope < 1e-8 else f"at a kink (slope {ended.slope:.0e})"
    note = f"{slope}, and none of {len(SIZES) * PROBES} policies near it is better by more than {max(lower, 1e-9):.0e}"
    row = row_of(world, method.meant._replace(note=note), ended.policy, ended.policy)
    return row._replace(kl_from_claim=None, verdict=verdict(lower < SETTLED))


CHECKS: dict[str, Callable[[World, Method, Ended], Found]] = {
    "policy": _at_claim,
    "boundary": _left,
    "gathers": _gathered,
    "rests": _resting,
}


class Unclaimed(LookupError):
    """A row of a table that says nothing which can be checked."""


def claim_of(name: str, row: Any, table: str) -> Claim:
    """The row's claim. Unclaimed: there is none."""
    if row.claim is None:
        raise Unclaimed(
            f"{table}[{name!r}] has no claim: give it claim=policy(f), f(setting, *, hyper-parameters) -> log-"
            "probabilities of where it ends, as in accord/maths/pair_ends.py; or boundary(f), GATHERS, RESTS"
        )
    claim: Claim = row.claim
    return claim


def pair_method(name: str, world: World) -> Method:
    row = PAIR_LOSSES[name]
    claim = claim_of(name, row, "PAIR_LOSSES")
    hyper, of = hyper_of(row.loss, claim), counted(world) if row.coupled else exact(world)
    loss = (of_counted_pairs if row.coupled else of_pairs)(row, of, hyper)
    return Method(_meant(name, "pair losses", row.optimum, hyper), claim, of, hyper, loss)


def unpaired_method(name: str, world: World) -> Method:
    row = UNPAIRED_LOSSES[name]
    claim = claim_of(name, row, "UNPAIRED_LOSSES")
    hyper, of = hyper_of(row.loss, claim), counted(world) if row.coupled else exact(world)
    loss = (of_counted_labels if row.coupled else of_labels)(row, of, hyper)
    return Method(_meant(name, "losses of labels", row.optimum, hyper), claim, of, hyper, loss)


def ranking_method(name: str, world: World) -> Method:
    row = RANKING_LOSSES[name]
    claim = claim_of(name, row, "RANKING_LOSSES")
    hyper, of = hyper_of(row.loss, claim), exact(world)
    meant = _meant(name, "losses of rankings", row.optimum, hyper)
    return Method(meant, claim, of, hyper, of_rankings(row, of, hyper))


def divergence_method(name: str, world: World) -> Method:
    """DPO with that f-divergence in the place of the KL."""
    row, of, dpo = DIVERGENCES[name], exact(world), PAIR_LOSSES["sigmoid"]
    if row.log_ratio is None:
        what = "has no log_ratio: give it the inverse of its score, from which accord theory makes its optimum"
        raise Unclaimed(f"DIVERGENCES[{name!r}] {what}")
    inverse = row.log_ratio

    def end(of: Setting, **hyper: float) -> Tensor:
        return under_divergence(of, inverse, **hyper)

    loss = under(row.score, dpo, of, hyper_of(dpo.loss, Claim("policy")))
    text = f"pi = u pi_ref, u = {row.optimum}"
    meant = Meant(f"sigmoid, {name}", "f-divergences", text)
    return Method(meant, Claim("policy", end), of, {"beta": BETA}, loss)


def _meant(name: str, kind: str, text: str, hyper: Mapping[str, float]) -> Meant:
    return Meant(name, kind, text, beta=hyper.get("beta", BETA))


Make = Callable[[str, World], Method]


def tasks(table: Mapping[str, Any], make: Make) -> Callable[[Sequence[World]], list[Task]]:
    """A task for every row of a table in every world."""

    def of_worlds(worlds: Sequence[World]) -> list[Task]:
        return [_task(name, make, world) for world in worlds for name, row in table.items() if _fits(row, world)]

    return of_worlds


def _fits(row: Any, world: World) -> bool:
    return len(world.completions) <= SMALL or not getattr(row, "coupled", False)


def _task(name: str, make: Make, world: World) -> Task:
    return Task(name, lambda: [found(world, make(name, world))])
