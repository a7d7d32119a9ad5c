"""Further adapters on the base of a policy's adapter: its reference, a critic's, a reward model's.

Base weights are in memory once. What stands there for another role is frozen, but for the critic, and is never written
with the policy's adapter.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor
from transformers import PreTrainedModel

from accord.errors import InputError
from accord.models.adapters import (
    BESIDE,
    adapter_is_fresh,
    adapter_of,
    adapter_tensors,
    configs_of,
    is_adapted,
    parameters_of,
    switch,
)
from accord.models.critic import Critic, zero_head
from accord.models.heads import head_of
from accord.models.logprobs import LanguageModel
from accord.models.roles import Role, seen_as, unchanged


def keep_reference(network: PreTrainedModel) -> None:
    """Makes the policy as it is now the network's reference: the base where its adapter is fresh, else a copy of it."""
    config = adapter_of(network)[1]
    if adapter_is_fresh(network):
        return
    own = copy.deepcopy(config)
    own.lora_dropout, own.inference_mode, own.init_lora_weights = 0.0, True, True
    put(network, "reference", own)
    fill(network, "reference", adapter_tensors(network))


def critic_on_base(policy: LanguageModel, *, seed: int, begin: LanguageModel | None = None) -> Critic:
    """An adapter of the policy's shape on the policy's base, as yet without effect, and a head of zeros.

    begin: a reward model on the same base (accord.models.shared_reward), whose adapter and head it begins with instead.
    The policy's weights are to be an optimiser's already (`Weights.of` takes all that is trained of a network).
    InputError where the policy has no adapter.
    """
    network = policy.network
    if not is_adapted(network):
        what, fix = "the policy is no adapter on a base", "give lora_r, or take another place for the critic"
        raise InputError(what, where="critic", fix=fix)
    if begin is None:
        put(network, "critic", _of_same_shape(adapter_of(network)[1]), seed=seed)
    else:
        put(network, "critic", copy.deepcopy(configs_of(network)["reward"]))
        fill(network, "critic", adapter_tensors(network, "reward"))
    for parameter in parameters_of(network, "critic").values():
        parameter.requires_grad_(True)
    head = zero_head(network)
    if begin is not None:
        with torch.no_grad():
            head.weight.copy_(head_of(begin.network).weight)
    return Critic(LanguageModel(seen_as(network, "critic"), policy.layout, policy.head), head)


def _of_same_shape(config: LoraConfig) -> LoraConfig:
    """Of layers that are trained whole, beside the policy's adapter, the critic has the base's."""
    return LoraConfig(
        r=config.r,
        lora_alpha=config.lora_alpha,
        target_modules=config.target_modules,
        exclude_modules=config.exclude_modules,
        target_parameters=config.target_parameters,
        rank_pattern=config.rank_pattern,
        alpha_pattern=config.alpha_pattern,
        layers_to_transform=config.layers_to_transform,
        layers_pattern=config.layers_pattern,
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
    )


def put(network: PreTrainedModel, role: Role, config: LoraConfig, *, seed: int = 0) -> None:
    """A new adapter for a role, frozen, in float32. What was there is trained as before, and the policy computes."""
    policy, _ = adapter_of(network)
    if policy in BESIDE or role in configs_of(network):
        what = f"an adapter is called {policy if policy in BESIDE else role} already"
        raise InputError(what, where="model", fix="save it, and load it again under peft's own name (default)")
    devices = [network.device] if network.device.type == "cuda" else []
    with unchanged(network), torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of there being several adapters
        torch.manual_seed(seed)
        inject_adapter_in_model(config, network, role)
    for parameter in parameters_of(network, role).values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(False)
    switch(network, policy)


def fill(network: PreTrainedModel, role: Role, tensors: Mapping[str, Tensor]) -> None:
    """Copies the tensors of an adapter, named as in its files, into this role's, in the precision of the policy's."""
    dtype = next(iter(parameters_of(network, adapter_of(network)[0]).values())).dtype
    for parameter in parameters_of(network, role).values():
        parameter.data = parameter.data.to(dtype)
    own = adapter_tensors(network, role)
    assert own.keys() == tensors.keys(), sorted(own.keys() ^ tensors.keys())
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
