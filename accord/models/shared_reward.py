"""A reward model that was trained as an adapter, on the base that the policy stands on: base weights in memory once.

Only where both bases have the same numbers: each of the body's is held against the reward model's base on the disk.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from peft import LoraConfig, PeftConfig
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from accord.models.adapter_files import adapter_directory, base_of, check_adapter
from accord.models.adapters import INJECTED, base_name, configs_of, inner_of, is_adapted
from accord.models.directory import OF_ADAPTER
from accord.models.heads import LAYER, head_of
from accord.models.logprobs import LanguageModel
from accord.models.named import stored_tensors
from accord.models.quantize import is_quantized
from accord.models.roles import seen_as
from accord.models.scorer import head_beside, on_body
from accord.models.shared import fill, put

WITHIN = "base_model.model."  # stands before every name in an adapter's files
LORA = ".lora_"  # follows the layer's name there


class Apart(NamedTuple):
    """Why a reward model cannot stand on the policy's base, and is to be loaded whole."""

    why: str


def reward_on_base(policy: LanguageModel, name: str, base_model: str | None = None) -> LanguageModel | Apart | None:
    """A reward model's adapter beside the policy's: what `load_scorer` gives, without base weights of its own.

    None where one of both is no adapter. base_model: the base that the reward model's belongs to, where it is not the
    one that its config names. The policy's weights are to be an optimiser's already. InputError where it is damaged.
    """
    network, adapter = policy.network, adapter_directory(name)
    if adapter is None or not is_adapted(network):
        return None
    if "reward" in configs_of(network):
        return Apart("another reward model stands on the policy's base already")
    base = base_of(adapter, base_model)
    check_adapter(adapter)
    head, told = head_beside(adapter)
    if (why := _other_base(network, base)) is not None:
        return Apart(why)
    config, tensors = _read(adapter)
    weight = next(tensors.pop(key) for key in list(tensors) if key.endswith(f".{LAYER}.weight"))
    if (why := _other_shape(network, config, tensors)) is not None:
        return Apart(why)
    put(network, "reward", config)
    fill(network, "reward", tensors)
    described = copy.deepcopy(network.config)
    head.describe(described)
    for key, value in told.items():
        setattr(described, key, value)
    view = on_body(network, described, next(network.parameters()).dtype)
    with torch.no_grad():
        head_of(view).weight.copy_(weight)
    return LanguageModel(_seen(view, network), policy.layout, policy.head)


def _seen(view: PreTrainedModel, network: PreTrainedModel) -> PreTrainedModel:
    """Frozen and at rest, its own parts alone: the body's are the policy's."""
    head = head_of(view)
    head.requires_grad_(False)
    head.training = view.training = False
    view.peft_config = network.peft_config
    return seen_as(view, "reward")


def _read(adapter: Path) -> tuple[LoraConfig, dict[str, Tensor]]:
    """What is in its files, the layers named one by one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = PeftConfig.from_pretrained(str(adapter))
    assert isinstance(config, LoraConfig)
    tensors = load_file(adapter / OF_ADAPTER)
    config.target_modules = sorted({key.removeprefix(WITHIN).rpartition(LORA)[0] for key in tensors if LORA in key})
    config.exclude_modules = config.layers_to_transform = config.layers_pattern = config.task_type = None
    config.modules_to_save, config.lora_dropout, config.inference_mode = None, 0.0, True
    config.init_lora_weights = True  # they are read; other ways of beginning change the base
    return config, tensors


def _other_shape(network: PreTrainedModel, config: LoraConfig, tensors: Mapping[str, Tensor]) -> str | None:
    """What of an adapter, its head left out, the policy's network has no place for."""
    if config.target_parameters or config.trainable_token_indices or config.bias != "none":
        return "its adapter is on more than layers"
    if whole := [key for key in tensors if LORA not in key]:
        return f"it has layers trained whole ({whole[0]})"
    there = {name for name, _ in network.named_modules()}
    missing = sorted(set(config.target_modules or ()) - there)
    return f"the policy's network has no layer {missing[0]}" if missing else None


def _other_base(network: PreTrainedModel, base: str) -> str | None:
    """Why the policy's base is another model than this one; None where it is not, as far as can be told.

    Weights under other names than in the file, or packed, are taken to be those of the file that they are named after.
    """
    own = base_name(network)
    names = f"its base is {base}, the policy's {own}"
    if is_quantized(network):
        return None if own == base else names
    held, prefix = dict(_base_parameters(network, "")), f"{network.base_model_prefix}."
    found = 0
    for key, tensor in _stored(base):
        mine = held.get(key if key.startswith(prefix) else prefix + key)
        if mine is None:
            continue
        found += 1
        if mine.shape != tensor.shape or not torch.equal(mine.cpu(), tensor.to(mine.dtype)):
            return f"{names}, and their weights differ (the first is {key})"
    body = sum(key.startswith(prefix) for key in held)
    return None if own == base or (found and found == body) else names


def _base_parameters(module: nn.Module, name: str) -> Iterator[tuple[str, Tensor]]:
    """Those of the base, by their names before there were adapters."""
    if isinstance(module, INJECTED):
        yield from _base_parameters(inner_of(module), name)
        return
    yield from ((name + key, parameter) for key, parameter in module.named_parameters(recurse=False))
    for key, child in module.named_children():
        yield from _base_parameters(child, f"{name}{key}.")


def _stored(base: str) -> Iterator[tuple[str, Tensor]]:
    """One tensor at a time."""
    stored = stored_tensors(base)
    for file in sorted({one.file for one in stored.values()}):
        with safe_open(file, "pt") as opened:
            for key in opened.keys():
                yield key, opened.get_tensor(key)
