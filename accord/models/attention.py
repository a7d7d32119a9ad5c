"""Attention over a row of segments: every prompt once, its completions as branches, nothing attends across groups.

Registered with transformers under the name `accord`. Where a forward pass brings no segments (sampling, padded rows) it
is stock scaled-dot-product attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from accord.data.batches import Segment
from accord.models import flex

NAME = "accord"

# A group is computed with one dense mask up to this many tokens, and segment by segment above. At 220 tokens a group
# the two took the same time (2 cores, 12 M parameters); long groups need the second, whose cost grows less fast.
DENSE_TOKENS = 320


class NotImplementedByNetwork(Exception):
    """The network cannot compute in the layout asked for; the start-up comparison falls back."""


class Family(NamedTuple):
    """A root segment and the segments that continue it, one after the other in one row. Lengths in tokens."""

    root: int
    branches: tuple[int, ...]

    @property
    def length(self) -> int:
        return self.root + sum(self.branches)


class Segments:
    """What attention has to know of one row: its families in order. Masks are made once and shared by all layers."""

    def __init__(self, segments: Sequence[Segment], device: torch.device) -> None:
        self.families = families(segments)
        self.device = device
        self.used = 0  # layers that attended by it: zero means that the model did not take it
        self._masks: dict[tuple[Any, ...], Tensor] = {}
        self._blocks: dict[int | None, BlockMask] = {}

    def tree_mask(self, family: Family, window: int | None) -> Tensor:
        """(L, L) bool, True = may attend, of a whole family."""
        key = (family, window)
        if key not in self._masks:
            own = torch.tensor([0, *range(1, len(family.branches) + 1)], device=self.device)
            lengths = torch.tensor([family.root, *family.branches], device=self.device)
            segment = own.repeat_interleave(lengths)
            position = torch.cat(
                [torch.arange(family.root), *(torch.arange(family.root, family.root + n) for n in family.branches)]
            ).to(self.device)
            gap = position[:, None] - position[None, :]
            related = (segment[:, None] == segment[None, :]) | (segment[None, :] == 0)
            self._masks[key] = related & (gap >= 0) & (gap < window if window else True)
        return self._masks[key]

    def block_mask(self, window: int | None) -> BlockMask:
        """For FlexAttention, of the whole row."""
        longest = max(family.root + max(family.branches, default=0) for family in self.families)
        window = window if window and window < longest else None
        if window not in self._blocks:
            self._blocks[window] = flex.block_mask(flex.spans(self.families, window, self.device))
        return self._blocks[window]

    def branch_mask(self, root: int, branch: int, window: int | None) -> Tensor:
        """(B, root + B) bool: a branch attends to its root and causally to itself."""
        key = (root, branch, window, "branch")
        if key not in self._masks:
            query = torch.arange(root, root + branch, device=self.device)
            gap = query[:, None] - torch.arange(root + branch, device=self.device)[None, :]
            self._masks[key] = (gap >= 0) & (gap < window if window else True)
        return self._masks[key]


def families(segments: Sequence[Segment]) -> tuple[Family, ...]:
    """The families of a row, in order."""
    found: list[tuple[int, list[int]]] = []
    for place, segment in enumerate(segments):
        if segment.parent < 0:
            found.append((segment.length, []))
            root = place
        else:
            assert segment.parent == root and segment.row == 0, "branches follow their root in one row"
            found[-1][1].append(segment.length)
    return tuple(Family(root_length, tuple(branches)) for root_length, branches in found)


def segment_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    segments: Segments | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """(1, H, T, d) queries, (1, H_kv, T, d) keys and values -> (1, T, H, d). s_aux: (H,) attention sinks."""
    if segments is None and (softcap is not None or s_aux is not None):
        spelled = Attend(dropout, scaling, softcap, None, False, s_aux)(query, key, value, attention_mask)
        return spelled.transpose(1, 2).contiguous(), None
    if segments is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    if attention_mask is not None and attention_mask.numel() > 1:  # Doge learns one, which starts as zeros
        raise NotImplementedByNetwork("its attention has a mask of its own making")
    segments.used += 1
    if dropout == 0 and s_aux is None and flex.available(query.device):
        shape = (query.shape[1], key.shape[1], query.shape[3])
        if (kernel := _fused(query.device, query.dtype, shape, scaling, softcap)) is not None:
            mask = segments.block_mask(sliding_window)
            fused = flex.attend(query, key, value, mask=mask, scaling=scaling, softcap=softcap, kernel=kernel)
            return fused.transpose(1, 2).contiguous(), None
    precision = query.dtype
    if query.device.type == "cpu" and precision != torch.float32:
        # On CPUs the fused kernel is faster in float32, and in bf16 it keeps memory for every new length.
        query, key, value = query.float(), key.float(), value.float()
    attend = Attend(dropout, scaling, softcap, sliding_window, query.shape[1] != key.shape[1], s_aux)
    joined = _one_by_one(attend, segments, query, key, value).to(precision)
    return joined.transpose(1, 2).contiguous(), None


def _one_by_one(attend: Attend, segments: Segments, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(1, H, T, d) of every family in turn."""
    lengths = [family.length for family in segments.families]
    parts = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), segments.families, strict=True)
    return torch.cat([part for q, k, v, family in parts for part in _family(attend, segments, family, q, k, v)], dim=2)


@cache
def _fused(
    device: torch.device, dtype: torch.dtype, shape: tuple[int, int, int], scaling: float | None, softcap: float | None
) -> flex.Kernel | None:
    """The one kernel for layers of this shape (H, H_kv, d), where it agrees with the loop."""

    def loop(row: Sequence[Segment], window: int | None, *tensors: Tensor) -> Tensor:
        attend = Attend(0.0, scaling, softcap, window, shape[0] != shape[1])
        return _one_by_one(attend, Segments(row, device), *tensors)

    def fused(row: Sequence[Segment], window: int | None, *tensors: Tensor) -> Tensor:
        mask = Segments(row, device).block_mask(window)
        return flex.attend(*tensors, mask=mask, scaling=scaling, softcap=softcap, kernel=flex.compiled())

    return flex.compiled() if flex.agree(fused, loop, device, dtype, shape) else None


class Attend(NamedTuple):
    """The options of one layer's attention."""

    dropout: float
    scaling: float | None
    softcap: float | None
    window: int | None
    grouped: bool
    sinks: Tensor | None = None  # (H,) a score that no token has: what it takes of the softmax is lost (GPT-OSS)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        if self.softcap is not None or self.sinks is not None:
            return self._spelled_out(q, k, v, mask)
        return scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            dropout_p=self.dropout,
            is_causal=mask is None and q.shape[2] > 1,
            scale=self.scaling,
            enable_gqa=self.grouped,
        )

    def _spelled_out(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """What no fused kernel on CPU offers: Gemma 2's bent scores, softcap * tanh(score / softcap), and sinks."""
        repeats = q.shape[1] // k.shape[1]
        k, v = repeat_kv(k, repeats), repeat_kv(v, repeats)
        scale = self.scaling if self.scaling is not None else q.shape[-1] ** -0.5
        score = q @ k.transpose(2, 3) * scale
        if self.softcap is not None:
            score = self.softcap * torch.tanh(score / self.softcap)
        if mask is None:
            mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril(k.shape[2] - q.shape[2])
        # The least finite number, not -inf: a row of padding that attends to nothing must not become NaN.
        score = score.float().masked_fill(~mask, torch.finfo(torch.float32).min)
        if self.sinks is not None:
            score = torch.cat([score, self.sinks.float().reshape(-1, 1, 1).expand(*score.shape[:3], 1)], -1)
        weights = score.softmax(-1)[..., : k.shape[2]].to(q.dtype)
        return torch.dropout(weights, self.dropout, self.dropout > 0) @ v


def _family(attend: Attend, segments: Segments, family: Family, q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
    longest = family.root + max(family.branches, default=0)
    window = attend.window if attend.window and attend.window < longest else None
    if not family.branches and window is None:
        return [attend(q, k, v, None)]
    if not family.branches or family.length <= DENSE_TOKENS:
        return [attend(q, k, v, segments.tree_mask(family, window))]
    cuts = [family.root, *family.branches]
    (q_root, *q_branches), (k_root, *k_branches), (v_root, *v_branches) = (x.split(cuts, dim=2) for x in (q, k, v))
    outputs = [attend(q_root, k_root, v_root, segments.branch_mask(0, family.root, window) if window else None)]
    for q_own, k_own, v_own in zip(q_branches, k_branches, v_branches, strict=True):
        keys, values = torch.cat([k_root, k_own], dim=2), torch.cat([v_root, v_own], dim=2)
        if window is None and family.root < q_own.shape[2]:
            # Causal attention of the whole row computes half of its square: less than the branch's masked rectangle.
            outputs.append(attend(torch.cat([q_root, q_own], dim=2), keys, values, None)[:, :, family.root :])
            continue
        outputs.append(attend(q_own, keys, values, segments.branch_mask(family.root, q_own.shape[2], window)))
    return outputs


def no_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """The masks of stock scaled-dot-product attention; they only serve calls without segments."""
    return sdpa_mask(*args, **kwargs)


AttentionInterface.register(NAME, segment_attention)
AttentionMaskInterface.register(NAME, no_mask)
