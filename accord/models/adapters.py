"""LoRA adapters in a network, through peft: put in, made trainable, told from the base, merged into it.

The network that Accord computes with stays the PreTrainedModel, with adapter layers injected; peft leaves its config on
it as `peft_config`. So everything here is read off the network itself, and a deep copy of it is a frozen copy of both.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from operator import attrgetter
from typing import Any, NamedTuple, cast

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from peft.tuners.lora import LoraLayer, ParamWrapper
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper, get_peft_model_state_dict
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from accord.errors import InputError

ALL_LINEAR = "all-linear"
# Fused kernels of these read the weights of such layers without calling the layers: an adapter there would be ignored.
MAMBAS = {"mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"}
READ_PAST = ("x_proj", "dt_proj", "out_proj")
INJECTED = (BaseTunerLayer, AuxiliaryTrainingWrapper)
# peft's names for adapters that stand beside the one that a run trains and writes (accord.models.roles).
BESIDE = ("reference", "reward", "critic")


class Lora(NamedTuple):
    """A new adapter: Hu et al. 2021. W + alpha / r * B A, with A (r, in) random and B (out, r) zero."""

    r: int
    alpha: int
    targets: Sequence[str]  # ends of layer names, or ALL_LINEAR alone
    rank_stabilised: bool  # alpha / sqrt(r), Kalajdzievski 2023
    magnitudes: bool  # DoRA, Liu et al. 2024

    def config(self, network: PreTrainedModel) -> LoraConfig:
        """As peft has it. Dropout is `make_trainable`'s."""
        everything = ALL_LINEAR in self.targets
        skipped = list(READ_PAST) if everything and network.config.model_type in MAMBAS else None
        return LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,
            lora_dropout=0.0,
            target_modules=ALL_LINEAR if everything else sorted(set(self.targets)),
            exclude_modules=skipped,
            use_rslora=self.rank_stabilised,
            use_dora=self.magnitudes,
            bias="none",
            task_type=_task(network),
        )


def _task(network: PreTrainedModel) -> TaskType:
    """A score head is no output layer: it is trained whole, beside the adapter, and saved with it."""
    if network.get_output_embeddings() is None:
        return TaskType.SEQ_CLS
    return TaskType.SEQ_2_SEQ_LM if network.config.is_encoder_decoder else TaskType.CAUSAL_LM


def add_adapter(network: PreTrainedModel, lora: Lora, *, base: str, seed: int) -> PreTrainedModel:
    """The same network, frozen, with a new adapter that as yet changes nothing; its weights are float32.

    base: where the network's own weights lie, for those who load the adapter. InputError where a target is no layer, or
    one that takes no adapter.
    """
    _check_targets(network, lora.targets)
    devices = [network.device] if network.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tied layers; `merged` and the stock output layer take care of them
        torch.manual_seed(seed)
        try:
            wrapped = get_peft_model(network, lora.config(network))
        except ValueError as error:
            line = str(error).split("\n")[0]
            raise InputError(line, where="lora_target_modules", fix=_linear_layers(network)) from error
    _, config = adapter_of(bare(wrapped))
    config.base_model_name_or_path = base  # peft has put the network's own name there
    config.target_modules = sorted(cast(Iterable[str], config.target_modules))  # a set: another order in every process
    return bare(wrapped)


def bare(wrapped: object) -> PreTrainedModel:
    """The transformers model within a PeftModel, its layers adapted; another one as it is."""
    if isinstance(wrapped, PeftModel):
        return cast(PreTrainedModel, wrapped.get_base_model())
    return cast(PreTrainedModel, wrapped)


def is_adapted(network: nn.Module) -> bool:
    """Whether there are adapter layers in it."""
    return bool(injected(network))


def adapter_of(network: PreTrainedModel) -> tuple[str, LoraConfig]:
    """(peft's name for it, its config). InputError where there is none, or more than one.

    Of several the one that a run trains, if the others are those of its other roles.
    """
    configs = configs_of(network)
    if len(configs) > 1:
        configs = {name: config for name, config in configs.items() if name not in BESIDE}
    if len(configs) != 1 or not isinstance(next(iter(configs.values())), LoraConfig):
        raise InputError(f"{len(configs)} adapters, or not LoRA", where="model", fix="pass it with one LoRA adapter")
    (found,) = configs.items()
    return found


def configs_of(network: PreTrainedModel) -> Mapping[str, LoraConfig]:
    """Of every adapter in it its config, by peft's name for it."""
    return cast(Mapping[str, LoraConfig], getattr(network, "peft_config", {}))


def base_name(network: PreTrainedModel) -> str:
    """The directory or name of the model that the adapter belongs to."""
    return str(adapter_of(network)[1].base_model_name_or_path or "")


def make_trainable(network: PreTrainedModel, *, dropout: float) -> None:
    """The adapter alone is trained, with this dropout of its input; also where it was loaded frozen."""
    name, config = adapter_of(network)
    if config.bias != "none":
        what = f"the adapter changes biases of its model too (bias {config.bias})"
        raise InputError(what, where=str(config.base_model_name_or_path), fix="merge it, and train the result")
    layers = injected(network)
    if dropout and any(isinstance(layer, ParamWrapper) for layer in layers):
        what = "the adapter is on weights of experts, which have no input of their own to drop from"
        raise InputError(what, where="lora_dropout", fix="leave it out, or name other lora_target_modules")
    network.requires_grad_(False)
    config.lora_dropout, config.inference_mode = dropout, False
    for layer in layers:
        layer.set_adapter(name)
        if isinstance(layer, LoraLayer):
            layer.lora_dropout[name] = nn.Dropout(dropout) if dropout else nn.Identity()


def dropouts(network: nn.Module) -> set[nn.Module]:
    """The dropout modules of the adapter that drop something."""
    layers = [layer for layer in injected(network) if isinstance(layer, LoraLayer)]
    modules = [module for layer in layers for module in layer.lora_dropout.values()]
    return {module for module in modules if isinstance(module, nn.Dropout) and module.p > 0}


def switch(network: nn.Module, name: str | None) -> None:
    """From now on this adapter alone computes; None: the base. Whatever is trained stays trained.

    Written to where peft reads it in a forward pass: its own `set_adapter` also makes the adapter that it switches on
    trainable, and all others not. Layers without an adapter of this name compute as their base.
    """
    layers: list[Any] = injected(network)
    for layer in layers:
        own = name is not None and (isinstance(layer, BaseTunerLayer) or name in layer._adapters)
        layer._active_adapter, layer._disable_adapters = [name] if own else [], name is None


@contextmanager
def computing(network: nn.Module, name: str | None) -> Iterator[None]:
    """Within, as after `switch`."""
    layers: list[Any] = injected(network)
    before = [(layer._active_adapter, layer._disable_adapters) for layer in layers]
    switch(network, name)
    try:
        yield
    finally:
        for layer, (active, off) in zip(layers, before, strict=True):
            layer._active_adapter, layer._disable_adapters = active, off


def adapters_off(network: nn.Module) -> AbstractContextManager[None]:
    """Within, the network computes as its base alone. Of a network without an adapter: nothing changes."""
    return computing(network, None)


def parameters_of(network: nn.Module, name: str) -> dict[str, nn.Parameter]:
    """The parameters of one adapter, by their names in the network."""
    kept = [attrgetter(kind)(layer) for layer in injected(network) for kind in layer.adapter_layer_names]
    parts = [held[name] for held in kept if name in held]
    own = {id(one) for part in parts for one in (part.parameters() if isinstance(part, nn.Module) else [part])}
    return {key: parameter for key, parameter in network.named_parameters() if id(parameter) in own}


@torch.no_grad()
def adapter_is_fresh(network: PreTrainedModel) -> bool:
    """Whether the adapter as yet changes nothing, so that the network computes what its base does."""
    name, config = adapter_of(network)
    layers = [layer for layer in injected(network) if name in layer._get_available_adapters()]
    plain = config.bias == "none" and all(isinstance(layer, LoraLayer) and not layer.merged for layer in layers)
    return plain and all(_changes_nothing(layer, name) for layer in layers if isinstance(layer, LoraLayer))


def adapter_tensors(network: PreTrainedModel, name: str | None = None) -> dict[str, Tensor]:
    """The adapter's tensors, or those of another one, named as in its files; not copied."""
    name = name or adapter_of(network)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own: dict[str, Tensor] = get_peft_model_state_dict(network, adapter_name=name, save_embedding_layers=False)
    return {f"base_model.model.{key}": tensor for key, tensor in own.items()}


def merged(wrapped: PeftModel) -> PreTrainedModel:
    """The base with the adapter's changes in its own weights, as a plain network; `wrapped` is used up.

    Where the adapter changes only one of two tied layers (embedding and output layer), they are tied no longer.
    """
    network = bare(wrapped)
    embedding, output = cast(Any, network.get_input_embeddings()), cast(Any, network.get_output_embeddings())
    adapted = isinstance(embedding, INJECTED) or isinstance(output, INJECTED)
    if adapted and output is not None and output.weight is embedding.weight:
        plain = output.get_base_layer() if isinstance(output, BaseTunerLayer) else output
        plain.weight = nn.Parameter(output.weight.detach().clone(), requires_grad=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the two no longer being tied, which peft then writes into the config
        return cast(PreTrainedModel, wrapped.merge_and_unload(safe_merge=True))


def injected(network: nn.Module) -> list[BaseTunerLayer | AuxiliaryTrainingWrapper]:
    """The layers that peft put in. Asked for in every change of role, so what is inside of them is passed over."""
    found: list[BaseTunerLayer | AuxiliaryTrainingWrapper] = []
    waiting = [network]
    while waiting:
        module = waiting.pop()
        if isinstance(module, INJECTED):
            found.append(module)
            waiting.append(inner_of(module))
        else:
            waiting += [child for child in module._modules.values() if child is not None]
    return found


def inner_of(layer: nn.Module) -> nn.Module:
    """What stood in the place of a layer that peft put in."""
    inner = layer._modules.get("base_layer", layer._modules.get("original_module"))
    assert inner is not None
    return inner


def _changes_nothing(layer: LoraLayer, name: str) -> bool:
    # The factor that peft begins with 0: B, but of an embedding A.
    if name in layer.lora_B and any(tensor.any() for tensor in layer.lora_B[name].state_dict().values()):
        return False
    if name in layer.lora_embedding_A and layer.lora_embedding_A[name].any():
        return False
    # DoRA begins with the length of each row of the weight itself.
    if name in layer.lora_magnitude_vector:
        dora: Any = layer.lora_magnitude_vector[name]
        weight = dequantize_module_weight(layer.get_base_layer())
        none = torch.zeros_like(weight.T if dora.fan_in_fan_out else weight)  # peft turns the weight, and not this
        norm = dora.get_weight_norm(weight, none, 1.0).to(dora.weight)
        rounding = 4 * torch.finfo(dora.weight.dtype).eps
        if norm.shape != dora.weight.shape or not torch.allclose(dora.weight, norm, rtol=rounding, atol=0.0):
            return False
    return True


def _check_targets(network: PreTrainedModel, targets: Sequence[str]) -> None:
    names = [name for name, _ in network.named_modules()]
    for target in targets:
        if target != ALL_LINEAR and not any(name == target or name.endswith(f".{target}") for name in names):
            raise InputError(
                f"the model has no layer {target!r}", where="lora_target_modules", fix=_linear_layers(network)
            )


def _linear_layers(network: PreTrainedModel) -> str:
    """What to give instead."""
    modules = network.named_modules()
    ends = [name.rpartition(".")[2] for name, module in modules if isinstance(module, (nn.Linear, Conv1D))]
    return f"its linear layers are {', '.join(dict.fromkeys(ends))}"
