"""Decoding on the state that a network keeps by itself: keys and values, or what a recurrent one carries along.

With keys and values prompts of different lengths are padded on the left and masked. A recurrent state would have read
the padding, so there all prompts that begin together are of one length, and nothing is padded or masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from accord.data.encode import Ids
from accord.models.attention import NotImplementedByNetwork
from accord.models.decoding import padded
from accord.models.next_token import Reader

NAMES = ("past_key_values", "cache_params")  # what families call their state


class Cached:
    """Rows on a cache of transformers. mask: (N, T) where a token stands; None where all rows are of one length."""

    def __init__(self, reader: Reader, cache: Cache, mask: Tensor | None) -> None:
        self.reader, self.cache, self.mask = reader, cache, mask

    def step(self, tokens: Tensor) -> Tensor:
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], 1)
        output = _pass(self.reader, tokens[:, None], self.mask, self.cache)
        return self.reader.states(output)[:, -1]

    def keep(self, rows: Tensor) -> None:
        self.cache.reorder_cache(cast(torch.LongTensor, rows))
        self.mask = None if self.mask is None else self.mask[rows]


def begin_padded(reader: Reader, prompts: Sequence[Ids], of: Tensor) -> tuple[Cached, Tensor]:
    """Prompts of any lengths."""
    tokens, mask = padded(prompts, reader.network.device, left=True)
    return _begin(reader, tokens, mask, of)


def begin_equal(reader: Reader, prompts: Sequence[Ids], of: Tensor) -> tuple[Cached, Tensor]:
    """Prompts of one length, and no mask at all."""
    tokens, _ = padded(prompts, reader.network.device, left=True)
    return _begin(reader, tokens, None, of)


def _begin(reader: Reader, tokens: Tensor, mask: Tensor | None, of: Tensor) -> tuple[Cached, Tensor]:
    output = _pass(reader, tokens, mask, None)
    caches = (getattr(output, name, None) for name in NAMES)
    cache = next((cache for cache in caches if isinstance(cache, Cache)), None)
    if cache is None:
        raise NotImplementedByNetwork("it keeps no state that can be shared out to samples")
    states = reader.states(output)[:, -1]
    rows = Cached(reader, cache, mask)
    rows.keep(of)
    return rows, states[of]


def _pass(reader: Reader, tokens: Tensor, mask: Tensor | None, cache: Cache | None) -> Any:
    inputs: dict[str, Any] = {"input_ids": tokens, "use_cache": True}
    if cache is not None:
        inputs[next((name for name in NAMES if reader.knows(name)), NAMES[0])] = cache
    if mask is not None:
        inputs["attention_mask"] = mask.long()
        if reader.knows("position_ids"):
            inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
    if reader.layer is None and reader.knows("logits_to_keep"):
        inputs["logits_to_keep"] = 1
    return reader.ask(**inputs)
