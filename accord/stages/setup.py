"""What every stage begins with: device, precision, tokenizer, network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accord.data.dialogue import TokenGroup
from accord.errors import InputError
from accord.models.adapters import bare
from accord.models.causality import check_causal
from accord.models.device import choose_device, keep_few_kernels, keep_freed_memory, multiplies_bf16, same_numbers_twice
from accord.models.heads import SCORES, has_head
from accord.models.layout import HEADED, LOGPROBS, MICRO_BATCH, Trial, settle
from accord.models.load import (
    check_vocabulary,
    load_network,
    load_tokenizer,
)
from accord.models.logprobs import LanguageModel
from accord.models.named import context_of, has_encoder
from accord.models.quantize import is_quantized
from accord.stages.options import ModelOptions
from accord.training.progress import say as say

Given = Mapping[str, object]
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


class Machine(NamedTuple):
    """Where a run computes, in which numbers, and how many tokens at a time."""

    device: torch.device
    dtype: torch.dtype
    max_tokens: int


def machine(options: ModelOptions, *, threads: int | None, max_tokens: int | None, headed: bool = False) -> Machine:
    """The device, precision and micro-batches that the options ask for, or what suits the machine.

    headed: a score head is trained.
    """
    keep_freed_memory()
    keep_few_kernels()
    if threads is not None:
        torch.set_num_threads(threads)
    device = choose_device(options.device)
    on_cpu = device.type == "cpu"
    if not on_cpu:
        same_numbers_twice()
    dtype = options.dtype or ("float32" if on_cpu else "bf16")
    if on_cpu and dtype == "bf16" and not multiplies_bf16():
        say("note: this processor has no instructions for bf16: float32 may be ten or more times as fast")
    usual = HEADED if headed else MICRO_BATCH
    return Machine(device, DTYPES[dtype], max_tokens or usual["cpu" if on_cpu else "cuda"])


def tokenizer_of(options: ModelOptions, given: Given) -> PreTrainedTokenizerBase:
    """The tokenizer that was given, or the model's own."""
    if (tokenizer := given.get("tokenizer")) is not None:
        return cast(PreTrainedTokenizerBase, tokenizer)
    name = options.model
    if (network := given.get("model")) is not None:
        name = str(getattr(network, "name_or_path", ""))
        if not name:
            raise InputError("a model object without a name", where="tokenizer", fix="pass tokenizer= as well")
    return load_tokenizer(
        name,
        chat_template=options.chat_template,
        trust_remote_code=options.trust_remote_code,
        base_model=options.base_model,
    )


def context(options: ModelOptions, given: Given) -> int | None:
    """The longest text that the model takes, in tokens; None where its config knows no limit."""
    network = cast(PreTrainedModel | None, given.get("model"))
    trusting = options.trust_remote_code
    return context_of(options.model, network, trust_remote_code=trusting, base_model=options.base_model)


def apart(options: ModelOptions, given: Given) -> bool:
    """Whether the model is an encoder-decoder, for which prompt and completion are sequences of their own."""
    network = cast(PreTrainedModel | None, given.get("model"))
    trusting = options.trust_remote_code
    return has_encoder(options.model, network, trust_remote_code=trusting, base_model=options.base_model)


def network_of(
    name: str, given: object, tokenizer: PreTrainedTokenizerBase, options: ModelOptions, place: Machine
) -> PreTrainedModel:
    """The network that was given, in its own precision, or the one of this name, in float32."""
    if given is not None:
        network = moved(bare(given), place.device)
    else:
        own = name == options.model
        network = load_network(
            name,
            device=place.device,
            trust_remote_code=options.trust_remote_code,
            base_model=options.base_model if own else None,
        )
    check_vocabulary(network, tokenizer)
    return network


def moved(network: PreTrainedModel, device: torch.device, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The same network on a device, in a precision, where one is given; a quantised one is left as it is.

    Below float32 only its parameters: the frequencies of rope are a buffer, and in bf16 far positions come out wrong.
    """
    if is_quantized(network):
        return network
    to: Any = network.to
    if dtype is None or dtype == torch.float32:
        changed: PreTrainedModel = to(device=device, dtype=dtype)
        return changed
    changed = to(device=device)
    for parameter in changed.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    return changed


def ready(
    network: PreTrainedModel, groups: Sequence[TokenGroup], options: ModelOptions, *, keeps: bool = True
) -> LanguageModel:
    """The network with the cheapest layout that the start-up comparison on the longest group allows.

    keeps: whether its forward passes will keep keys and values. What is compared are scores, if it has a head for them.
    """
    longest = max(groups, key=lambda group: group.length)
    reading = SCORES if has_head(network) else LOGPROBS
    if reading is LOGPROBS:
        check_causal(LanguageModel(network), longest)
    model, failed = settle(
        LanguageModel(network), longest, asked=options.layout, groups=groups, keeps=keeps, reading=reading
    )
    for trial in failed:
        say(_fallback(trial))
    if failed or options.layout != "auto":
        say(f"computing with the {model.layout} layout and the {model.head} output layer")
    return model


def _fallback(trial: Trial) -> str:
    return f"note: not used, as the start-up comparison failed: {trial}"
