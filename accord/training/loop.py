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
from accord.training.objectives import Measured, Objective
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
        weight = measured.weight.double()
        for name, values in measured.values.items():
            pair = torch.stack([(values.double() * weight).sum(), weight.sum()])
            held = self._sums.get(prefix + name)
            self._sums[prefix + name] = pair if held is None else held + pair

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
        for batch in part.batches:
            torch.manual_seed(_mix(*seed, place))
            place += 1
            measured = part.objective(model, batch.to(model.device))
            share = measured.loss * (part.coefficient / whole if whole else 0.0)
            share.backward()
            loss += share.detach()
            sums.add(measured, part.name)
    return loss


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


@torch.no_grad()
def measure(model: LanguageModel, batches: Iterable[Batch], objective: Objective) -> Held:
    """The objective's figures on every row of held-out data. The same numbers whatever the micro-batches."""
    values: dict[str, list[Tensor]] = {}
    weight: list[Tensor] = []
    group: list[Tensor] = []
    with model.segmented():
        for batch in batches:
            measured = objective(model, batch.to(model.device))
            for name, row in measured.values.items():
                values.setdefault(name, []).append(row.double().cpu())
            weight.append(measured.weight.double().cpu())
            group.append(measured.group.cpu())
    joined = {name: torch.cat(rows).numpy() for name, rows in values.items()}
    empty = torch.zeros(0)
    return Held(joined, torch.cat(weight or [empty]).numpy(), torch.cat(group or [empty.long()]).numpy())
