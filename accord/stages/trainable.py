"""A network made trainable: precision, optimiser, average of the weights, dropout, checkpointing of activations."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn
from transformers import PreTrainedModel

from accord.models.adapters import dropouts, is_adapted
from accord.models.roles import computed_again
from accord.stages.options import TrainOptions
from accord.training.averaging import AVERAGES, Average
from accord.training.optimizer import Recipe, Weights, options_of, recipe

# Attributes of modules that draw at random in training mode and are no modules themselves.
DROPPING = ("attention_dropout", "attn_pdrop", "dropout", "activation_dropout", "layerdrop", "jitter_noise")


def weights_of(network: PreTrainedModel, train: TrainOptions, dtype: torch.dtype) -> Weights:
    """The network's parameters made trainable in `dtype`, with optimiser and average."""
    network.zero_grad()  # a model that Python passes may bring gradients of its own, and steps add to what is there
    set_going(network, train)
    frozen_is_saved = not is_adapted(network)
    return Weights.of(
        network, optimizer_recipe(train), dtype=dtype, average=_average(train), widen_frozen=frozen_is_saved
    )


def set_going(network: PreTrainedModel, train: TrainOptions) -> None:
    """Training mode where dropout or checkpointing of activations asks for it, and no other dropout than asked for."""
    # Dropout is off unless asked for. Checkpointing works in training mode only; dropout of 0 does nothing there.
    network.train(train.dropout or train.gradient_checkpointing or bool(dropouts(network)))
    if train.gradient_checkpointing:
        # Not the reentrant kind: that needs inputs with a gradient, which a frozen embedding does not give.
        with warnings.catch_warnings():  # transformers 5.23 announces another name, which earlier ones do not have
            warnings.simplefilter("ignore", FutureWarning)
            role = {"context_fn": computed_again(network)} if is_adapted(network) else {}
            network.gradient_checkpointing_enable({"use_reentrant": False, **role})
    if network.training and not train.dropout:
        _silence_dropout(network, spare=dropouts(network))


def optimizer_recipe(train: TrainOptions) -> Recipe:
    """The optimiser that the options ask for; options of other optimisers are left aside."""
    every = {
        "betas": (train.adam_beta1, train.adam_beta2),
        "eps": train.adam_epsilon if train.optimizer.startswith("adam") else None,
        "momentum": train.momentum,
    }
    own = {name: value for name, value in every.items() if name in options_of(train.optimizer)}
    return recipe(train.optimizer, weight_decay=train.weight_decay, **own)


def _average(train: TrainOptions) -> Callable[[Mapping[str, nn.Parameter]], Average] | None:
    choices = {
        "none": None,
        "iterate": AVERAGES["iterate"],
        "ema": partial(AVERAGES["exponential"], decay=train.ema_decay),
    }
    return choices[train.average]


def _silence_dropout(network: PreTrainedModel, *, spare: set[nn.Module]) -> None:
    for module in network.modules():
        if isinstance(module, nn.Dropout) and module not in spare:
            module.p = 0.0
        for name in DROPPING:
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
