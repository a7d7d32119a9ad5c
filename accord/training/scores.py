"""What a preference loss reads of a micro-batch: each completion's log-probability under the policy and the reference.

C completions, N predicted tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from accord.data.batches import Batch
from accord.models.experts import Routing
from accord.models.logprobs import LanguageModel, logprobs
from accord.models.output import TokenLogprobs, Want


class Reference(Protocol):
    """Where the reference's log-probabilities come from: computed before the first step, or by a model that moves."""

    def of(self, batch: Batch) -> Tensor:
        """(C,) nats, summed over the tokens that carry loss."""

    def tokens_of(self, batch: Batch) -> Tensor:
        """(N,) nats, in the order of the micro-batch's predicted tokens."""


class Term(NamedTuple):
    """One loss of a table with its hyper-parameters, and its weight where several are added up."""

    row: Any  # of PAIR_LOSSES, UNPAIRED_LOSSES or RANKING_LOSSES
    hyper: Mapping[str, float]
    weight: float = 1.0


class Scores(NamedTuple):
    """Of C completions. Only `policy` and `token` carry gradients."""

    policy: Tensor  # (C,) nats
    reference: Tensor  # (C,) nats; zeros where no loss needs one
    length: Tensor  # (C,) tokens
    token: TokenLogprobs  # (N,)
    routing: Routing | None = None  # of a mixture of experts


def rounding(length: Tensor) -> Tensor:
    """Nats, any shape: a log-ratio over so many tokens that is smaller is none.

    A token's log-probability differs by up to 3e-5 nats with the micro-batch it is computed in, here or there.
    """
    return 3e-5 * length.sqrt()


def scores_of(model: LanguageModel, batch: Batch, reference: Reference | None, want: tuple[Want, ...] = ()) -> Scores:
    """One forward pass of the policy; the reference is looked up, or computed without gradients."""
    result = logprobs(model, batch, want=want)
    ref = torch.zeros_like(result.sum) if reference is None else reference.of(batch)
    return Scores(result.sum, ref, result.length, result.token, result.routing)
