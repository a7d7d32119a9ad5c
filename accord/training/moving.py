"""A reference that follows the policy: TR-DPO (Gorbatovski et al. 2024). So nothing of it can be computed before."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accord.data.batches import Batch
from accord.errors import InputError
from accord.models.logprobs import CompletionLogprobs, LanguageModel, logprobs, resting

Sync = Literal["soft", "hard"]


class MovingReference:
    """Every `every` steps theta_ref <- alpha theta + (1 - alpha) theta_ref (soft), or theta_ref <- theta (hard).

    It holds a copy of the network (frozen parameters it shares with the policy), and of what is trained a float32
    copy, so that small moves are not lost in bf16.
    """

    def __init__(
        self,
        model: LanguageModel,
        policy: Mapping[str, nn.Parameter],
        *,
        sync: Sync,
        alpha: float,
        every: int,
        start: PreTrainedModel | None = None,
    ) -> None:
        """model: the policy, policy: what of it is trained. start: where the reference begins, if not there.

        InputError where `start` is another architecture, or differs in what is not trained.
        """
        self.policy, self.every = policy, every
        self.share = 1.0 if sync == "hard" else alpha
        if start is not None:
            _check_start(start, model.network, policy)
        network = copied(model.network if start is None else start, policy)
        self.model = LanguageModel(network, model.layout, model.head)
        self._parameters = dict(network.named_parameters())
        self.exact = {name: self._parameters[name].data.float() for name in policy}
        self._latest: tuple[Batch, CompletionLogprobs] | None = None

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


def copied(network: PreTrainedModel, policy: Mapping[str, nn.Parameter]) -> PreTrainedModel:
    """A copy that shares the parameters that are not trained, and needs no gradients. policy: those that are."""
    shared = {id(own): own for name, own in network.named_parameters() if name not in policy}
    copied = copy.deepcopy(network, shared)
    for name, own in copied.named_parameters():
        if name in policy:
            own.requires_grad_(False)
    return copied


def _check_start(start: PreTrainedModel, network: PreTrainedModel, policy: Mapping[str, nn.Parameter]) -> None:
    fix = "a moving reference has the policy's architecture, and its weights where these are not trained"
    ours, theirs = dict(network.named_parameters()), dict(start.named_parameters())
    if type(start) is not type(network):
        what = f"a {type(start).__name__}, and the policy a {type(network).__name__}"
        raise InputError(what, where="reference", fix=fix)
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs or ours[name].shape != theirs[name].shape:
            has, of = ("policy", "reference") if name not in ours else ("reference", "policy")
            raise InputError(f"the {has} has no tensor like the {of}'s {name}", where="reference", fix=fix)
        if name not in policy and not torch.equal(ours[name].float(), theirs[name].float()):
            raise InputError(f"{name} is not trained, and differs from the policy's", where="reference", fix=fix)
