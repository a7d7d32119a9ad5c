"""Which groups a step goes wrong by: each computed alone, with its own loss and gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from accord.data.batches import Batch, piece
from accord.data.dialogue import TokenGroup
from accord.errors import Diverged
from accord.models.logprobs import LanguageModel
from accord.training.objectives import Objective
from accord.training.step import Computed, Gradients, Step, draws, of_step
from accord.training.watch import Watch

SHOWN = 10  # groups that are printed
NAMED = 3  # groups that the last line names


class Suspect(NamedTuple):
    """A group by itself, as the step's objective sees it without the others."""

    part: str  # the name of the step's part that it belongs to
    group: TokenGroup
    loss: float  # its own mean
    grad_norm: float

    @property
    def name(self) -> str:
        """Where it came from: file and line, and its id."""
        return f"{self.group.group.source} (id {self.group.group.id})"

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)

    def __str__(self) -> str:
        return f"{self.name}: {self.part}loss {self.loss:g}, gradient norm {self.grad_norm:g} by itself"


class Moment(NamedTuple):
    """A step before its update."""

    step: int  # from 1
    loss: float
    grad_norm: float
    learning_rate: float


class StepDiverged(Diverged):
    """A step that was not made. `suspects`: the groups it is about, whole; the first are shown before the error."""

    def __init__(self, moment: Moment, suspects: Sequence[Suspect], what: str, fix: str) -> None:
        self.moment, self.suspects = moment, suspects
        more = [f"and {len(suspects) - SHOWN} more"] if len(suspects) > SHOWN else []
        self.others = [*suspects[:SHOWN], *more]
        super().__init__(
            f"{what}, before the update, which was not made",
            where=f"step {moment.step}",
            fix=f"{fix}: {_few(suspects)}",
        )


def not_finite(
    model: LanguageModel, computed: Computed, weights: Gradients, moment: Moment, seed: tuple[int, int]
) -> StepDiverged:
    """The error of a step whose loss or gradient is not finite. The gradients in the weights are gone afterwards."""
    every = alone(model, computed.step, weights, seed)
    bad = [one for one in every if not one.is_finite]
    what = f"loss {moment.loss:g}, gradient norm {moment.grad_norm:g}"
    if not bad:
        every.sort(key=lambda one: -one.grad_norm)
        fix = "a lower learning_rate; each group alone is finite, and the largest gradients are those of"
        return StepDiverged(moment, every, what, fix)
    few = len(bad) <= len(every) / 2
    first = "look at the" if few else "a lower learning_rate, or look at the"
    return StepDiverged(moment, bad, what, f"{first} groups that are not finite alone ({len(bad)} of {len(every)})")


def dead(
    model: LanguageModel, computed: Computed, weights: Gradients, moment: Moment, seed: tuple[int, int], watch: Watch
) -> StepDiverged:
    """The error of a run whose gradient has been exactly 0 for so many steps."""
    what = f"the gradient has been exactly 0 for {watch.zeros} steps (loss {moment.loss:g}), so nothing is learnt"
    fix = f"{watch.lifeless}. The step's groups"
    return StepDiverged(moment, alone(model, computed.step, weights, seed), what, fix)


def alone(model: LanguageModel, step: Step, weights: Gradients, seed: tuple[int, int]) -> list[Suspect]:
    """Loss and gradient of every group of a step without the others. A loss that couples groups sees one at a time."""
    found = []
    for part, begin in zip(step, draws(seed, step), strict=True):
        for place, batch in enumerate(part.batches):
            for index, group in enumerate(batch.members):
                weights.zero_grad()
                one = piece(batch, index, index + 1)
                loss = _loss(model, part.objective, one, partial(begin, place))
                found.append(Suspect(part.name, group, loss, float(weights.grad_norm())))
    weights.zero_grad()
    return found


def _loss(model: LanguageModel, objective: Objective, batch: Batch, begin: Callable[[], None]) -> float:
    """Of one micro-batch as a step of its own; adds its gradient."""
    objective = of_step(objective, model, [batch], lambda _: begin())
    begin()
    loss = objective(model, batch.to(model.device)).loss / (objective.weight(batch) or 1.0)
    loss.backward()
    return float(loss.detach())


def _few(suspects: Sequence[Suspect]) -> str:
    named = ", ".join(one.name for one in suspects[:NAMED])
    return named + (f" and {len(suspects) - NAMED} more" if len(suspects) > NAMED else "")
