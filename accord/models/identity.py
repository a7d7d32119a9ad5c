"""What a network computes with, as a key: the same for the same numbers, under whatever name, path or folder.

Looked at is what the network holds now: every parameter, buffer and quantisation constant, the class of every module,
the config. An adapter that adds nothing, as every fresh one, is not part of it.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from torch import Tensor, nn
from transformers import PreTrainedModel

from accord import __version__
from accord.data.dialogue import TokenGroup
from accord.errors import InputError
from accord.models.adapters import adapter_is_fresh, is_adapted
from accord.models.digest import digest
from accord.models.logprobs import LanguageModel
from accord.models.roles import in_role, role_of

# Of a config, what names things or says how it was saved; everything else may change a number.
NAMES = {
    "_name_or_path", "_commit_hash", "transformers_version", "architectures", "auto_map", "dtype", "torch_dtype",
    "id2label", "label2id", "problem_type", "use_cache", "return_dict", "output_hidden_states", "output_attentions",
}  # fmt: skip


class Unidentified(Exception):
    """What a network computes with cannot be told, so its values are not to be kept."""


class Identity(NamedTuple):
    """content: of weights, config, adapter, number types. way: what else has a part in it, as versions."""

    content: str
    way: str

    @property
    def key(self) -> str:
        """64 hexadecimal digits: who computes these values."""
        return sha256(f"{self.content} {self.way}".encode()).hexdigest()


def identity(model: LanguageModel) -> Identity:
    """Raises Unidentified for a class without source, or tensors that cannot be read."""
    return Identity(content(model.network), _way(model))


def content(network: PreTrainedModel) -> str:
    """64 hexadecimal digits of what the network computes with in its role; an adapter that adds nothing is left out."""
    with in_role(network):
        parts = list(_parts(network, "", with_adapter=role_of(network) is not None or not idle_adapter(network)))
    words = [f"{name}: {part}" for name, part in parts if isinstance(part, str)]
    text = "\n".join([_class_of(network), _config_of(network), *words])
    return _digest([(name, part) for name, part in parts if isinstance(part, Tensor)], text)


def _digest(tensors: Sequence[tuple[str, Tensor]], text: str) -> str:
    try:
        return digest(tensors, text=text)
    except (RuntimeError, NotImplementedError, TypeError, AttributeError) as error:
        raise Unidentified(f"its tensors cannot be read ({error})") from error


def frozen(network: PreTrainedModel) -> str:
    """64 hexadecimal digits of the weights that are not trained, as the base of an adapter; empty where there are none.

    Raises Unidentified for tensors that cannot be read.
    """
    trained = {parameter.data_ptr() for parameter in network.parameters() if parameter.requires_grad}
    fixed = [(name, tensor) for name, tensor in network.state_dict().items() if tensor.data_ptr() not in trained]
    return _digest(fixed, "") if fixed else ""


def group_key(group: TokenGroup) -> bytes:
    """32 bytes of the tokens of a group and of which of them carry loss."""
    found = sha256(_ints(group.prompt))
    for completion in group.completions:
        places = [np.arange(start, end) for start, end in completion.loss]
        loss = np.concatenate(places) if places else np.zeros(0)
        found.update(f"|{len(completion.ids)}|{len(loss)}|".encode() + _ints(completion.ids) + _ints(loss))
    return found.digest()


def _ints(values: np.ndarray[Any, Any]) -> bytes:
    return values.astype("<i4").tobytes()


def idle_adapter(network: PreTrainedModel) -> bool:
    """Whether the network has an adapter that adds nothing, as every fresh one."""
    try:
        return is_adapted(network) and adapter_is_fresh(network)
    except InputError:  # several adapters, or another kind than LoRA: taken to add something
        return False


def _parts(module: nn.Module, name: str, *, with_adapter: bool) -> Iterator[tuple[str, Tensor | str]]:
    """(name, tensor or word) of everything in a module that has a part in its numbers; adapters after their base."""
    if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
        base = module.base_layer if hasattr(module, "base_layer") else module.original_module
        assert isinstance(base, nn.Module)
        yield from _parts(base, name, with_adapter=with_adapter)
        if with_adapter:
            yield from _adapter_parts(module, name)
        return
    yield name, type(module).__qualname__
    children = list(module.named_children())
    own = _own(module) if children else {**_own(module), **module.state_dict()}  # constants of quantised layers too
    for key, value in own.items():
        yield f"{name}.{key}", value if isinstance(value, Tensor) else repr(value)
    for key, child in children:
        yield from _parts(child, f"{name}.{key}", with_adapter=with_adapter)


def _own(module: nn.Module) -> dict[str, Any]:
    """Parameters and buffers of the module itself, those too that are not saved (rope's frequencies)."""
    return {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}


def _adapter_parts(layer: Any, name: str) -> Iterator[tuple[str, Tensor | str]]:
    """Of the adapters that are switched on, under their place in the order and not their name."""
    if layer.disable_adapters:
        return
    for place, adapter in enumerate(layer.active_adapters):
        for kind in (*layer.adapter_layer_names, *layer.other_param_names):
            held: Any = attrgetter(kind)(layer)
            one_each = isinstance(held, (Mapping, nn.ModuleDict, nn.ParameterDict)) and adapter in held
            value = held[adapter] if one_each else None
            if isinstance(value, nn.Dropout | nn.Identity):  # off, where nothing is trained
                continue
            if isinstance(value, nn.Module):
                yield from _parts(value, f"{name}+{kind}.{place}", with_adapter=False)
            elif value is not None:
                yield f"{name}+{kind}.{place}", value if isinstance(value, Tensor) else repr(value)


def _class_of(network: PreTrainedModel) -> str:
    """The network's class; with its code, where that is not part of transformers."""
    kind = type(network)
    if kind.__module__.startswith("transformers."):
        return kind.__qualname__
    try:
        return kind.__qualname__ + Path(inspect.getfile(kind)).read_text(encoding="utf-8")
    except (OSError, TypeError) as error:
        raise Unidentified(f"the code of {kind.__qualname__} is in no file") from error


def _config_of(network: PreTrainedModel) -> str:
    return json.dumps(_unnamed(network.config.to_dict()), sort_keys=True, default=str)


def _unnamed(value: Any) -> Any:
    """A config without names, at every depth."""
    if isinstance(value, dict):
        return {str(key): _unnamed(item) for key, item in value.items() if key not in NAMES}
    return [_unnamed(item) for item in value] if isinstance(value, list | tuple) else value


def _way(model: LanguageModel) -> str:
    """What else has a part in the numbers. Not the layout: all are exact, which every run tries before it begins."""
    return ", ".join(
        (
            f"{model.device.type} {torch.get_float32_matmul_precision()}",
            f"{model.network.config._attn_implementation} attention",
            f"accord {__version__}, torch {torch.__version__}, transformers {transformers.__version__}",
        )
    )
