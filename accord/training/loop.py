"""The one training loop: micro-batches -> objective -> step. And the same without a step, for held-out data."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.data.batches import Batch, size
from accord.models.logprobs import LanguageModel
from accord.training.fitting import Room, attempt
from accord.training.objectives import Coupled, Measured, Objective
from accord.training.optimizer import Weights
from accord.training.step import Computed, Part, Step, backward, draws, of_step
from accord.training.suspects import Moment, dead, not_finite
from accord.training.trained import Beside, Trained
from accord.training.watch import Watch

EVALUATION = "evaluation"


class StepResult(NamedTuple):
    """What one optimiser step did; one of no groups did nothing, and has no loss."""

    step: int  # steps done, this one counted
    loss: float
    grad_norm: float  # before clipping
    learning_rate: float
    sums: dict[str, tuple[float, float]]  # figure -> (weighted sum, weight)
    tokens: int  # that went through the model
    row_tokens: int  # that would have in one row a completion
    groups: int
    seconds: float  # to make the step's micro-batches, and to learn from them


def fit(
    model: LanguageModel,
    steps: Iterable[Step],
    weights: Weights,
    rate: Callable[[int], float],
    *,
    max_grad_norm: float,
    seed: int,
    first: int = 0,
    room: Room | None = None,
    watch: Watch | None = None,
    beside: Sequence[Beside] = (),
) -> Iterator[StepResult]:
    """Trains; yields after every step. rate: step (from 0) -> learning rate. first: the number of steps already done.

    Every random draw inside a forward pass comes from (seed, step, micro-batch), so nothing random has to be saved.
    room, watch: what earlier steps showed of memory, and of losses. beside: further weights that the steps' parts give
    gradients to. A step without parts is passed over. Raises Diverged before a step whose loss or gradient is not
    finite, or whose gradient has been 0 for long; StorageError where memory lacks for one group.
    """
    room, watch, trained = room or Room(), watch or Watch(), Trained(weights, beside)
    with model.segmented():
        for index, (step, waited) in enumerate(_timed(steps), start=first):
            if not step:
                yield StepResult(index + 1, 0.0, 0.0, rate(index), {}, 0, 0, 0, 0.0)
                continue
            began = time.perf_counter()
            computed = backward(model, step, trained, seed=(seed, index), room=room, where=f"step {index + 1}")
            norms = [one.grad_norm() for one in trained.every]
            total, *lengths = (float(x) for x in torch.stack([computed.loss.cpu(), *(norm.cpu() for norm in norms)]))
            length = math.hypot(*lengths)
            moment = Moment(index + 1, total, length, rate(index))
            if not (np.isfinite(total) and np.isfinite(length)):
                raise not_finite(model, computed, trained, moment, (seed, index))
            watch.see(*moment[:3])
            if watch.is_dead:
                raise dead(model, computed, trained, moment, (seed, index), watch)
            rates = (rate, *(one.rate for one in beside))
            for one, its_rate, norm in zip(trained.every, rates, norms, strict=True):
                if max_grad_norm > 0:
                    one.clip(norm, max_grad_norm)
                one.step(its_rate(index))
                one.zero_grad()
            apart = {f"{one.name}grad_norm": (norm, 1.0) for one, norm in zip(beside, lengths[1:], strict=True)}
            own = moment._replace(grad_norm=lengths[0])
            yield _result(own, computed, apart, waited + time.perf_counter() - began)


def _timed(steps: Iterable[Step]) -> Iterator[tuple[Step, float]]:
    """Each with the seconds that it took to come: where it is sampled first, more than it takes to learn from it."""
    began = time.perf_counter()
    for step in steps:
        yield step, time.perf_counter() - began
        began = time.perf_counter()


def _result(moment: Moment, computed: Computed, apart: Mapping[str, tuple[float, float]], seconds: float) -> StepResult:
    batches = [batch for part in computed.step for batch in part.batches]
    return StepResult(
        *moment,
        {**computed.sums.read(), **apart},
        sum(batch.token_count for batch in batches),
        sum(size(group, "rows") for batch in batches for group in batch.members),
        sum(len(batch.members) for batch in batches),
        seconds,
    )


class Held(NamedTuple):
    """Held-out figures row by row, so that their uncertainty can be said."""

    values: dict[str, NDArray[np.float64]]  # name -> (n,)
    weight: NDArray[np.float64]  # (n,)
    group: NDArray[np.int64]  # (n,)
    only: dict[str, NDArray[np.float64]]  # name -> (n,) 1 where a row has this figure

    def row_weight(self, name: str) -> NDArray[np.float64]:
        """(n,) each row's share in the mean of a figure."""
        return self.weight * self.only.get(name, 1.0)


@torch.no_grad()
def measure(model: LanguageModel, batches: Iterable[Batch], objective: Objective, room: Room | None = None) -> Held:
    """The objective's figures on every row of held-out data. The same numbers whatever the micro-batches.

    A loss that couples the groups of a step takes all held-out groups as one step. room: as in `fit`.
    """
    room = room or Room()
    with model.segmented():
        if isinstance(objective, Coupled):
            found = _together(model, batches, objective, room)
        else:
            found = [measured for batch in batches for measured in _measured(model, batch, objective, room)]
    names = found[0].values if found else {}
    masked = found[0].only if found else {}
    return Held(
        {name: _joined([one.values[name] for one in found]) for name in names},
        _joined([one.weight for one in found]),
        _joined([one.group for one in found]).astype(np.int64),
        {name: _joined([one.only[name] for one in found]) for name in masked},
    )


def _together(model: LanguageModel, batches: Iterable[Batch], objective: Objective, room: Room) -> list[Measured]:
    """The figures of all micro-batches as one step; where memory runs out, of the same step in smaller ones."""
    batches = list(batches)
    while True:
        batches = room.cut(batches)
        at: list[Batch] = []
        found = attempt(partial(_as_one_step, model, batches, objective, at))
        if found is not None:
            return found
        room.ran_out(at, EVALUATION)


def _as_one_step(
    model: LanguageModel, batches: Sequence[Batch], objective: Objective, at: list[Batch]
) -> list[Measured]:
    at[:], found = batches, []
    (begin,) = draws((0, 0), [Part(batches, objective)])
    whole = of_step(objective, model, batches, begin)
    for batch in batches:
        at[:] = [batch]
        found.append(_forward(model, batch, whole))
    return found


def _measured(model: LanguageModel, batch: Batch, objective: Objective, room: Room) -> Iterator[Measured]:
    """The figures of a micro-batch, or of the smaller ones that memory suffices for."""
    waiting = [batch]
    while waiting:
        one, *later = room.cut(waiting)
        measured = attempt(partial(_forward, model, one, objective))
        if measured is not None:
            yield measured
            waiting = later
        else:
            room.ran_out([one], EVALUATION)


def _forward(model: LanguageModel, batch: Batch, objective: Objective) -> Measured:
    return objective(model, batch.to(model.device))


def _joined(parts: Sequence[Tensor]) -> NDArray[np.float64]:
    rows: NDArray[np.float64] = torch.cat([part.double() for part in parts] or [torch.zeros(0)]).cpu().numpy()
    return rows
