"""The one training loop: micro-batches -> objective -> step. And the same without a step, for held-out data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.data.batches import Batch, size
from accord.errors import Diverged
from accord.models.logprobs import LanguageModel
from accord.training.balance import Balance
from accord.training.objectives import Coupled, Measured, Objective
from accord.training.optimizer import Weights


class Part(NamedTuple):
    """One term of a step's loss: coefficient * (sum of the objective over the micro-batches / their weight)."""

    batches: Sequence[Batch]
    objective: Objective
    coefficient: float = 1.0
    name: str = ""  # goes before the names of its figures


Step = Sequence[Part]


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


class StepResult(NamedTuple):
    """What one optimiser step did."""

    step: int  # steps done, this one counted
    loss: float
    grad_norm: float  # before clipping
    learning_rate: float
    sums: dict[str, tuple[float, float]]  # figure -> (weighted sum, weight)
    tokens: int  # that went through the model
    row_tokens: int  # that would have in one row a completion
    groups: int
    seconds: float


def fit(
    model: LanguageModel,
    steps: Iterable[Step],
    weights: Weights,
    rate: Callable[[int], float],
    *,
    max_grad_norm: float,
    seed: int,
    first: int = 0,
) -> Iterator[StepResult]:
    """Trains; yields after every step. rate: step (from 0) -> learning rate. first: the number of steps already done.

    Every random draw inside a forward pass comes from (seed, step, micro-batch), so nothing random has to be saved.
    Raises Diverged before a step whose loss or gradient is not finite.
    """
    with model.segmented():
        for index, step in enumerate(steps, start=first):
            began = time.perf_counter()
            sums = Sums()
            loss = _backward(model, step, sums, seed=(seed, index))
            norm = weights.grad_norm()
            total, length = (float(x) for x in torch.stack([loss.cpu(), norm.cpu()]))
            if not (np.isfinite(total) and np.isfinite(length)):
                raise _diverged(step, index, total, length)
            if max_grad_norm > 0:
                weights.clip(norm, max_grad_norm)
            weights.step(rate(index))
            weights.zero_grad()
            batches = [batch for part in step for batch in part.batches]
            yield StepResult(
                index + 1,
                total,
                length,
                rate(index),
                sums.read(),
                sum(batch.token_count for batch in batches),
                sum(size(group, "rows") for batch in batches for group in batch.members),
                sum(len(batch.members) for batch in batches),
                time.perf_counter() - began,
            )


def _backward(model: LanguageModel, step: Step, sums: Sums, *, seed: tuple[int, int]) -> Tensor:
    """Adds the gradients of a whole step; gives its loss. Each micro-batch adds its sum / the whole part's weight."""
    loss = torch.zeros((), device=model.device)
    place = 0
    for part in step:
        whole = sum(part.objective.weight(batch) for batch in part.batches)
        begin = _draws(*seed, place)
        objective = _of_step(part.objective, model, part.batches, begin)
        balance = Balance.of_step(model, part.batches, begin)
        for index, batch in enumerate(part.batches):
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
        place += len(part.batches)
    return loss


def _draws(seed: int, step: int, first: int) -> Callable[[int], None]:
    """What is called with a micro-batch's place in its part before every forward pass of it: all draw the same.

    first: the place of the part's first micro-batch in the step.
    """

    def begin(index: int) -> None:
        torch.manual_seed(_mix(seed, step, first + index))

    return begin


def _of_step(
    objective: Objective, model: LanguageModel, batches: Sequence[Batch], begin: Callable[[int], None]
) -> Objective:
    """The objective itself, or what it becomes once it has looked at the whole step."""
    if not isinstance(objective, Coupled):
        return objective
    with torch.no_grad():
        return objective.of_step(model, batches, begin)


def _mix(*numbers: int) -> int:
    """One seed from several, far apart for neighbours."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _diverged(step: Step, index: int, loss: float, norm: float) -> Diverged:
    members = [group for part in step for batch in part.batches for group in batch.members]
    named = ", ".join(f"{group.group.source} (id {group.group.id})" for group in members[:3])
    more = f" and {len(members) - 3} more" if len(members) > 3 else ""
    return Diverged(
        f"loss {loss:g}, gradient norm {norm:g}, before the update, which was not made",
        where=f"step {index + 1}",
        fix=f"a lower learning_rate, or look at the step's groups: {named}{more}",
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
def measure(model: LanguageModel, batches: Iterable[Batch], objective: Objective) -> Held:
    """The objective's figures on every row of held-out data. The same numbers whatever the micro-batches.

    A loss that couples the groups of a step takes all held-out groups as one step.
    """
    found: list[Measured] = []
    with model.segmented():
        if isinstance(objective, Coupled):
            batches = list(batches)
            objective = _of_step(objective, model, batches, _draws(0, 0, 0))
        for batch in batches:
            found.append(objective(model, batch.to(model.device)))
    names = found[0].values if found else {}
    masked = found[0].only if found else {}
    return Held(
        {name: _joined([one.values[name] for one in found]) for name in names},
        _joined([one.weight for one in found]),
        _joined([one.group for one in found]).astype(np.int64),
        {name: _joined([one.only[name] for one in found]) for name in masked},
    )


def _joined(parts: Sequence[Tensor]) -> NDArray[np.float64]:
    rows: NDArray[np.float64] = torch.cat([part.double() for part in parts] or [torch.zeros(0)]).cpu().numpy()
    return rows
