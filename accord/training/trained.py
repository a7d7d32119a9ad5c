"""What a step trains: the model's own weights, and those of others beside it, as a critic's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from accord.training.optimizer import Weights


class Beside(NamedTuple):
    """Weights with an optimiser, a learning rate and a clipping of their own."""

    weights: Weights
    rate: Callable[[int], float]  # step (from 0) -> learning rate
    name: str  # goes before the name of its gradient norm


class Trained(NamedTuple):
    """All of them together, as far as gradients go."""

    weights: Weights
    beside: Sequence[Beside] = ()

    @property
    def every(self) -> tuple[Weights, ...]:
        return (self.weights, *(one.weights for one in self.beside))

    def zero_grad(self) -> None:
        for one in self.every:
            one.zero_grad()

    def grad_norm(self) -> Tensor:
        """() the L2 norm over all gradients together."""
        norm: Tensor = torch.linalg.vector_norm(torch.stack([one.grad_norm().cpu() for one in self.every]))
        return norm
