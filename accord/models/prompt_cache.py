"""The layout in two parts for decoders: prompts once, then every completion on the keys and values of its prompt.

The kept keys and values are part of the graph, so the completions' losses reach the prompt. Exact where the state after
a prompt is keys and values only: recurrent and state-space models compute rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from accord.data.batches import Batch
from accord.models.attention import NotImplementedByNetwork

# Others write their states in place or outside the graph, which a comparison of numbers alone would not show.
DIFFERENTIABLE = (DynamicLayer, DynamicSlidingWindowLayer)


def completion_inputs(body: Callable[..., Any], batch: Batch, mask: Tensor) -> dict[str, Tensor | DynamicCache]:
    """What the rows of completions are computed from, after one pass over the prompts. mask: (C, Tc) their tokens."""
    prompts = batch.prompts
    assert prompts is not None
    # A prompt of one token or none leaves nothing to be kept. Its row attends to padding, and nothing attends to it.
    attended = prompts.mask | ~prompts.mask.any(1, keepdim=True)
    output = body(
        input_ids=prompts.tokens,
        attention_mask=attended.long(),
        position_ids=(prompts.mask.cumsum(1) - 1).clamp(min=0),
        use_cache=True,
    )
    return {
        "past_key_values": _selected(getattr(output, "past_key_values", None), prompts.of),
        "attention_mask": torch.cat([prompts.mask.long()[prompts.of], mask], 1),
        "position_ids": batch.positions,
    }


def _selected(kept: object, of: Tensor) -> DynamicCache:
    """The keys and values of each completion's prompt."""
    if kept is None:
        raise NotImplementedByNetwork("it keeps no keys and values (gradient checkpointing turns them off)")
    if not isinstance(kept, DynamicCache) or any(type(layer) not in DIFFERENTIABLE for layer in kept.layers):
        raise NotImplementedByNetwork("what it keeps of a prompt is more than keys and values")
    kept.reorder_cache(cast(torch.LongTensor, of))  # index_select, whose derivative is an index_add
    return kept
