"""A step whose loss or gradient is not finite, or 0 for long: which of its groups it is, before any update."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import tiny
import torch
from test_loop import BLOCKS, PAIRS, TURNS, reference_of

from accord.data.batches import Batch
from accord.data.cut import micro_batches
from accord.data.dialogue import TokenGroup
from accord.errors import Diverged
from accord.maths.preference import PAIR_LOSSES
from accord.models.logprobs import LanguageModel
from accord.training.loop import fit
from accord.training.objectives import Likelihood, Objective
from accord.training.optimizer import Weights, recipe
from accord.training.preferences import PairObjective
from accord.training.scores import Term
from accord.training.step import Part, Step
from accord.training.suspects import StepDiverged


class Poisoned:
    """An objective whose loss, or only its gradient, is not finite for some groups."""

    def __init__(self, inner: Objective, bad: set[str], *, loss: bool = True) -> None:
        self.inner, self.bad, self.loss = inner, bad, loss

    def weight(self, batch: Batch) -> float:
        return self.inner.weight(batch)

    def __call__(self, model: LanguageModel, batch: Batch) -> Any:
        measured = self.inner(model, batch)
        if not self.bad & {member.group.id for member in batch.members}:
            return measured
        zero = measured.loss * 0
        return measured._replace(loss=measured.loss + (zero * math.nan if self.loss else zero.sqrt()))

    def of_step(self, model: LanguageModel, batches: Sequence[Batch], begin: Callable[[int], None]) -> Objective:
        """Coupled where the inner one is: the whole step is then spoilt."""
        of_step = getattr(self.inner, "of_step", None)
        inner = self.inner if of_step is None else of_step(model, batches, begin)
        every = {member.group.id for batch in batches for member in batch.members}
        return Poisoned(inner, every if of_step is not None and self.bad & every else self.bad, loss=self.loss)


def diverged(parts: Step) -> StepDiverged:
    network = tiny.llama()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    weights = Weights.of(network, recipe())
    with pytest.raises(StepDiverged) as caught:
        list(fit(LanguageModel(network), [parts], weights, lambda _: 0.25, max_grad_norm=1.0, seed=0))
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())
    assert all(p.grad is None for p in network.parameters())
    return caught.value


def trees(groups: Sequence[TokenGroup], max_tokens: int = 64) -> list[Batch]:
    return list(micro_batches(groups, range(len(groups)), max_tokens=max_tokens, layout="tree"))


def pairs_with(name: str, groups: Sequence[TokenGroup] = PAIRS) -> PairObjective:
    return PairObjective([Term(PAIR_LOSSES[name], {"beta": 0.3})], reference_of(groups))


@pytest.mark.parametrize("loss", [True, False], ids=["loss", "gradient alone"])
@pytest.mark.parametrize("name", ["sigmoid", "bco_pair"], ids=["one pass", "two passes"])
def test_the_groups_that_are_not_finite_are_named(name: str, loss: bool) -> None:
    error = diverged([Part(trees(PAIRS), Poisoned(pairs_with(name), {"g3", "g7"}, loss=loss))])
    assert sorted(one.group.group.id for one in error.suspects) == ["g3", "g7"]
    assert sorted(str(line).split(":")[1] for line in error.others) == ["4 (id g3)", "8 (id g7)"]
    assert all(math.isfinite(one.loss) is not loss and math.isnan(one.grad_norm) for one in error.suspects)
    assert "look at the groups that are not finite alone (2 of 9): made.jsonl:" in str(error)
    assert error.moment[:1] + error.moment[3:] == (1, 0.25)


def test_the_part_of_a_mix_is_named() -> None:
    mix = Part(trees(BLOCKS), Poisoned(Likelihood(), {BLOCKS[1].group.id}), 0.5, "mix/")
    error = diverged([Part(trees(TURNS), Likelihood(), 0.5), mix])
    assert [(one.part, one.group.group.id) for one in error.suspects] == [("mix/", BLOCKS[1].group.id)]


def test_where_every_group_is_finite_alone_the_step_is_named_by_gradient() -> None:
    error = diverged([Part(trees(TURNS), Crowded())])
    norms = [one.grad_norm for one in error.suspects]
    assert len(norms) == len(TURNS) and norms == sorted(norms, reverse=True)


class Crowded:
    """A loss that leaves float32 where several groups come together, and of none alone."""

    def weight(self, batch: Batch) -> float:
        return float(len(batch.members))

    def __call__(self, model: LanguageModel, batch: Batch) -> Any:
        measured = Likelihood()(model, batch)
        return measured._replace(loss=measured.loss * (math.inf if len(batch.members) > 1 else 1.0))


def test_no_group_is_blamed_where_all_are() -> None:
    network = tiny.llama()
    with torch.no_grad():
        network.lm_head.weight[5, 5] = math.nan
    steps = fit(
        LanguageModel(network), [[Part(trees(TURNS), Likelihood())]], Weights.of(network, recipe()), lambda _: 0.1,
        max_grad_norm=1.0, seed=0,
    )  # fmt: skip
    with pytest.raises(Diverged, match=r"a lower learning_rate, or look at .* \(5 of 5\)"):
        next(steps)


def test_a_dead_gradient_stops_before_the_update() -> None:
    class Flat(Likelihood):
        def __call__(self, model: LanguageModel, batch: Batch) -> Any:
            measured = super().__call__(model, batch)
            return measured._replace(loss=measured.loss * 0)

    network, done = tiny.llama(), []
    weights = Weights.of(network, recipe("adamw", weight_decay=0.1))
    steps = [[Part(trees(TURNS), Flat())]] * 30
    with pytest.raises(StepDiverged, match=r"^step 20: the gradient has been exactly 0 for 20 steps") as caught:
        for result in fit(LanguageModel(network), steps, weights, lambda _: 0.1, max_grad_norm=1.0, seed=0):
            done.append((result.step, network.lm_head.weight.detach().clone()))
    assert [step for step, _ in done] == list(range(1, 20))
    assert torch.equal(network.lm_head.weight, done[-1][1])
    assert {one.group.group.id for one in caught.value.suspects} == {group.group.id for group in TURNS}
