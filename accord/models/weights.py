"""Whether the weights of a directory and its config belong together: none missing, none left, all finite."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

from accord.errors import InputError
from accord.models.directory import CONFIG, INDEX, WHOLE, Stored

# Tied weights may lie in the file once, so that it holds fewer numbers than the model; never so many fewer.
ROOM = 4


def check_extent(empty: PreTrainedModel, stored: Mapping[str, Stored], name: str) -> None:
    """InputError where a config makes a far larger model than its weights fill. empty: that model, on no device."""
    wanted = sum(parameter.numel() for parameter in empty.parameters())
    held = sum(math.prod(tensor.shape) for tensor in stored.values())
    if stored and wanted > ROOM * held:
        what = f"its sizes make a model of {wanted:,} parameters, and the weights are {held:,} numbers"
        raise InputError(what, where=f"{name}/{CONFIG}", fix="use the config that belongs to the weights")


def check_weights(network: PreTrainedModel, info: Mapping[str, Any], stored: Mapping[str, Stored], name: str) -> None:
    """InputError names the file and the tensor. info: what transformers says of the load."""
    files = {tensor.file.name for tensor in stored.values()}
    whole = f"{name}/{INDEX if len(files) > 1 else next(iter(files), WHOLE)}"
    missing = sorted(info.get("missing_keys", ()))
    if missing:
        raise InputError(
            f"{len(missing)} tensors are missing, the first {missing[0]}",
            where=whole,
            fix="the weights do not belong to this config; random values are never filled in",
        )
    if wrong := sorted(str(key[0] if isinstance(key, tuple) else key) for key in info.get("mismatched_keys", ())):
        raise InputError(
            f"shape differs from the config: {wrong[0]}", where=whole, fix="use matching weights and config"
        )
    if left := sorted(info.get("unexpected_keys", ())):
        print(f"note: {whole}: {len(left)} tensors are not of this model, the first {left[0]}", file=sys.stderr)
    buffers = [(key, tensor) for key, tensor in network.named_buffers() if key in stored]
    for key, tensor in (*network.named_parameters(), *buffers):
        if tensor.is_floating_point() and not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
            where = str(stored[key].file) if key in stored else whole
            raise InputError("has values that are not finite", where=f"{where}: {key}", fix="use undamaged weights")
