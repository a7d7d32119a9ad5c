"""The gradient of one optimiser step: its parts, their micro-batches, what is drawn at random in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from accord.data.batches import Batch
from accord.models.logprobs import LanguageModel
from accord.training.balance import Balance
from accord.training.fitting import Room, attempt
from accord.training.objectives import Coupled, Measured, Objective


class Part(NamedTuple):
    """One term of a step's loss: coefficient * (sum of the objective over the micro-batches / their weight)."""

    batches: Sequence[Batch]
    objective: Objective
    coefficient: float = 1.0
    name: str = ""  # goes before the names of its figures


Step = Sequence[Part]


class Gradients(Protocol):
    """Where the gradients of a step go: weights, or several sets of them."""

    def zero_grad(self) -> None: ...

    def grad_norm(self) -> Tensor: ...


class Sums:
    """Weighted sums of figures over a step; they stay on the device until they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}  # (2,) the sum and the weight

    def add(self, measured: Measured, prefix: str = "") -> None:
        for name, values in measured.values.items():
            weight = measured.weight.double() * measured.only.get(name, 1.0)
            pair = torch.stack([(values.double() * weight).sum(), weight.sum()])
            held = self._sums.get(prefix + name)
            self._sums[prefix + name] = pair if held is None else held + pair

    def add_to(self, name: str, share: Tensor) -> None:
        """A micro-batch's share of a figure that the whole step has once."""
        one = torch.stack([share.double(), torch.ones_like(share, dtype=torch.float64)])
        held = self._sums.get(name)
        self._sums[name] = one if held is None else held + one * one.new_tensor([1.0, 0.0])

    def read(self) -> dict[str, tuple[float, float]]:
        """name -> (weighted sum, weight), those without any weight left out; one transfer from the device."""
        if not self._sums:
            return {}
        table = torch.stack(list(self._sums.values())).tolist()
        return {name: (total, weight) for name, (total, weight) in zip(self._sums, table, strict=True) if weight > 0}


class Computed(NamedTuple):
    """A step whose gradients lie in the weights."""

    step: Step  # as it was cut in the end
    loss: Tensor  # ()
    sums: Sums


def backward(
    model: LanguageModel, step: Step, weights: Gradients, *, seed: tuple[int, int], room: Room, where: str
) -> Computed:
    """The gradients of a whole step; where memory runs out, those of the same step in smaller micro-batches.

    seed: of the run, and the step, from 0. where: names the step. StorageError where one group alone does not fit.
    """
    while True:
        cut = [part._replace(batches=room.cut(part.batches)) for part in step]
        sums = Sums()
        at: list[Batch] = []
        loss = attempt(partial(_backward, model, cut, sums, seed, at))
        if loss is not None:
            return Computed(cut, loss, sums)
        weights.zero_grad()
        room.ran_out(at, where)


def _backward(model: LanguageModel, step: Step, sums: Sums, seed: tuple[int, int], at: list[Batch]) -> Tensor:
    """Adds the gradients of a whole step; gives its loss. Each micro-batch adds its sum / the whole part's weight.

    at: gets what is being computed.
    """
    loss = torch.zeros((), device=model.device)
    for part, begin in zip(step, draws(seed, step), strict=True):
        whole = sum(part.objective.weight(batch) for batch in part.batches)
        at[:] = part.batches
        objective = of_step(part.objective, model, part.batches, begin)
        balance = Balance.of_step(model, part.batches, begin)
        for index, batch in enumerate(part.batches):
            at[:] = [batch]
            begin(index)
            measured = objective(model, batch.to(model.device))
            share = measured.loss * (part.coefficient / whole if whole else 0.0)
            if measured.routing is not None and balance is not None:
                aux = balance.value(measured.routing)
                share = share + part.coefficient * balance.coefficient * aux
                sums.add_to(f"{part.name}aux_loss", aux.detach())
            share.backward()
            loss += share.detach()
            sums.add(measured, part.name)
    return loss


def draws(seed: tuple[int, int], step: Step) -> Iterator[Callable[[int], None]]:
    """Of every part of a step, what is called with a micro-batch's place in it before every forward pass of it.

    All draw the same: what (seed, step, place in the step) gives.
    """
    first = 0
    for part in step:
        yield _drawing(*seed, first)
        first += len(part.batches)


def _drawing(seed: int, step: int, first: int) -> Callable[[int], None]:
    def begin(index: int) -> None:
        torch.manual_seed(mixed(seed, step, first + index))

    return begin


def of_step(
    objective: Objective, model: LanguageModel, batches: Sequence[Batch], begin: Callable[[int], None]
) -> Objective:
    """The objective itself, or what it becomes once it has looked at the whole step."""
    if not isinstance(objective, Coupled):
        return objective
    with torch.no_grad():
        return objective.of_step(model, batches, begin)


def mixed(*numbers: int) -> int:
    """One seed from several, far apart for neighbours."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
