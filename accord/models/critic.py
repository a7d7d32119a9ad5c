"""The critic of PPO: V(s) of the state before each token of a completion, a linear head on the last hidden states.

Three places for it: on the policy's own trunk, which costs no forward pass; on the policy's base, under an adapter of
its own; on a trunk of its own, as a reward model's, whose score it then begins with.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accord.data.batches import Batch, arrange
from accord.errors import InputError
from accord.models.adapters import is_adapted
from accord.models.heads import has_head, head_of
from accord.models.logprobs import LanguageModel, states_before
from accord.models.output import value
from accord.models.roles import role_of, trained_in


@dataclass(frozen=True)
class Critic:
    """A value head and the network under it."""

    model: LanguageModel | None  # None: the policy's own, whose forward pass gives the values too (`logprobs(head=)`)
    head: nn.Linear  # D -> 1 without bias

    def parameters(self) -> dict[str, nn.Parameter]:
        """What the critic's own optimiser trains, by name; for `Weights.of`."""
        trunk = {} if self.model is None else _trained(self.model)
        named = {f"trunk.{name}": parameter for name, parameter in trunk.items() if parameter is not self.head.weight}
        return {**named, "head.weight": cast(nn.Parameter, self.head.weight)}

    @contextmanager
    def acting(self, policy: LanguageModel) -> Iterator[LanguageModel]:
        """Within, what the head is read off is ready to compute: its own model, or the policy."""
        own = self.model or policy
        with own.segmented():
            yield own


def values(model: LanguageModel, batch: Batch, head: nn.Linear) -> Tensor:
    """(N,) float32: V of the state before each predicted token, in the order of `batch.predict`, with gradients.

    A micro-batch in a layout that is not this model's is laid out anew; the order of its tokens is the same in all.
    """
    if batch.layout not in (model.layout, "rows"):
        batch = arrange(batch.members, model.layout, indices=batch.indices, start=model.start).to(model.device)
    return value(states_before(model, batch), head)


def on_policy(policy: LanguageModel) -> Critic:
    """A head of zeros on the policy's trunk: its values begin as 0."""
    return Critic(None, zero_head(policy.network))


def from_reward_model(model: LanguageModel) -> Critic:
    """A reward model taken over whole, trunk and head: its values begin as its scores of what is written so far.

    InputError where it is no reward model, or where an adapter is in it: merged, it can be trained whole.
    """
    network = model.network
    head = head_of(network) if has_head(network) else None
    if head is None or head.out_features != 1 or is_adapted(network):
        what = "has no head of one number" if head is None or head.out_features != 1 else "is an adapter on a base"
        raise InputError(what, where=str(network.name_or_path), fix="give a whole reward model (accord merge)")
    network.requires_grad_(True)
    return Critic(model, head)


def from_policy(policy: LanguageModel) -> Critic:
    """A copy of the policy's trunk with a head of zeros. InputError where the policy is an adapter on a base."""
    network = policy.network
    if is_adapted(network):
        what, fix = "the policy is an adapter", "put the critic on its base too, or begin it with a reward model"
        raise InputError(what, where="critic", fix=fix)
    output = network.get_output_embeddings()
    trunk = copy.deepcopy(network, {} if output is None else {id(output): nn.Identity()})  # its logits are not needed
    return Critic(LanguageModel(trunk, policy.layout, policy.head), zero_head(network))


def zero_head(network: PreTrainedModel) -> nn.Linear:
    """D -> 1 in float32, D the width of the network's last hidden states, where the network is."""
    output = network.get_output_embeddings()
    width = int(network.config.get_text_config().hidden_size if output is None else output.weight.shape[-1])
    head = nn.Linear(width, 1, bias=False, device=network.device, dtype=torch.float32)
    nn.init.zeros_(head.weight)
    return head


def _trained(model: LanguageModel) -> dict[str, nn.Parameter]:
    role = role_of(model.network)
    if role is not None:
        return trained_in(model.network, role)
    return {name: parameter for name, parameter in model.network.named_parameters() if parameter.requires_grad}
