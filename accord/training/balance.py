"""The balance loss of a mixture of experts, for a step that is cut into micro-batches.

It is a product of two means over tokens (Fedus et al. 2022, Eq. 4), so it does not add up over micro-batches: how
often each expert was chosen is counted over the whole step first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from accord.data.batches import Batch
from accord.models.experts import Routing, coefficient
from accord.models.logprobs import LanguageModel, routing_of


class Balance(NamedTuple):
    """What a step needs for it. whole: None while the step is one micro-batch, which says it all itself."""

    coefficient: float
    whole: Routing | None

    @classmethod
    def of_step(cls, model: LanguageModel, batches: Sequence[Batch], begin: Callable[[int], None]) -> Balance | None:
        """None for networks without such a loss. Several micro-batches cost a forward pass more.

        begin: as in `Coupled.of_step`.
        """
        factor = coefficient(model.network)
        if not factor:
            return None
        if len(batches) < 2:
            return cls(factor, None)
        found = []
        for index, batch in enumerate(batches):
            begin(index)
            found.append(routing_of(model, batch.to(model.device)))
        known = [one for one in found if one is not None]
        if not known:
            return None
        return cls(factor, Routing(*(torch.stack(parts).sum(0) for parts in zip(*known, strict=True))))

    def value(self, routing: Routing) -> Tensor:
        """() a micro-batch's part of the step's balance loss, without the coefficient."""
        return routing.balance(self.whole)
