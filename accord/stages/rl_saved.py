"""Samples of a round as tensors of a checkpoint, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accord.data.dialogue import TokenGroup
from accord.training.rollout import sampled_group


def columns_of(groups: Sequence[TokenGroup]) -> Iterator[tuple[str, Tensor]]:
    """The ids of all samples and of the prompts that they are of."""
    samples = [torch.from_numpy(one.ids.copy()) for group in groups for one in group.completions]
    yield "ids", torch.cat(samples)
    yield "length", torch.tensor([len(one) for one in samples])
    yield from _asked(groups)


def samples_of(prompts: Sequence[TokenGroup], tensors: Mapping[str, Tensor]) -> tuple[TokenGroup, ...]:
    """The samples of these prompts; as many of each."""
    pieces = [piece.numpy().astype(np.int32) for piece in tensors["ids"].split(tensors["length"].tolist())]
    count = len(pieces) // len(prompts)
    return tuple(sampled_group(one, pieces[i * count : (i + 1) * count]) for i, one in enumerate(prompts))


def are_of(prompts: Sequence[TokenGroup], tensors: Mapping[str, Tensor]) -> bool:
    """Whether these prompts are those that were sampled from: the order may have been allowed to change."""
    return all(torch.equal(column, tensors[name]) for name, column in _asked(prompts))


def _asked(prompts: Sequence[TokenGroup]) -> Iterator[tuple[str, Tensor]]:
    yield "prompt/ids", torch.cat([torch.from_numpy(one.prompt.copy()) for one in prompts])
    yield "prompt/length", torch.tensor([len(one.prompt) for one in prompts])


def written(about: Mapping[str, Any]) -> Tensor:
    """What JSON can hold, as a tensor of bytes."""
    return torch.frombuffer(bytearray(json.dumps(about).encode()), dtype=torch.uint8)


def read(words: Tensor) -> dict[str, Any]:
    """The reverse of `written`."""
    found: dict[str, Any] = json.loads(words.numpy().tobytes())
    return found
