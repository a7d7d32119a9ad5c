"""A reference that follows the policy: TR-DPO (Gorbatovski et al. 2024). So nothing of it can be computed before."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from accord.data.batches import Batch
from accord.errors import InputError
from accord.models.logprobs import CompletionLogprobs, LanguageModel, logprobs, resting

Sync = Literal["soft", "hard"]


class MovingReference:
    """Every `every` steps theta_ref <- alpha theta + (1 - alpha) theta_ref (soft), or theta_ref <- theta (hard).

    It holds a copy of the network, and of what is trained a float32 copy, so that small moves are not lost in bf16.
    """

    def __init__(
        self, model: LanguageModel, policy: Mapping[str, nn.Parameter], *, sync: Sync, alpha: float, every: int
    ) -> None:
        self.policy, self.every = policy, every
        self.share = 1.0 if sync == "hard" else alpha
        self.model = LanguageModel(copy.deepcopy(model.network), model.layout, model.head)
        self.model.network.requires_grad_(False)
        self._parameters = dict(self.model.network.named_parameters())
        self.exact = {name: self._own(name, master).data.float().clone() for name, master in policy.items()}
        self._latest: tuple[Batch, CompletionLogprobs] | None = None

    def _own(self, name: str, master: nn.Parameter) -> nn.Parameter:
        own = self._parameters.get(name)
        if own is None or own.shape != master.shape:
            what = f"the reference has no tensor like the policy's {name}"
            raise InputError(what, where="reference", fix="a moving reference has the policy's architecture")
        return own

    def of(self, batch: Batch) -> Tensor:
        """(C,) nats, summed over the tokens that carry loss."""
        return self._logprobs(batch).sum

    def tokens_of(self, batch: Batch) -> Tensor:
        """(N,) nats, in the order of the micro-batch's predicted tokens."""
        return self._logprobs(batch).token.token

    @torch.no_grad()
    def _logprobs(self, batch: Batch) -> CompletionLogprobs:
        if self._latest is None or self._latest[0] is not batch:
            with self.model.segmented(), resting(self.model.network):
                self._latest = (batch, logprobs(self.model, batch))
        return self._latest[1]

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Moves, if it is time. step: the steps done."""
        if step % self.every:
            return
        for name, master in self.policy.items():
            self.exact[name].lerp_(master.data.float(), self.share)
        self._publish()

    def _publish(self) -> None:
        self._latest = None
        for name, exact in self.exact.items():
            self._parameters[name].data.copy_(exact)

    def state_tensors(self) -> Mapping[str, Tensor]:
        """For a checkpoint: parameter -> float32 tensor."""
        return self.exact

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """The reverse of `state_tensors`, exact to the bit."""
        for name, exact in self.exact.items():
            exact.copy_(tensors[name])
        self._publish()
