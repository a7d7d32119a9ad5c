"""Attention over a row of segments: every prompt once, its completions as branches, nothing attends across groups.

Registered with transformers under the name `accord`. Where a forward pass brings no segments (sampling, padded rows) it
is stock scaled-dot-product attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from accord.data.batches import Segment

NAME = "accord"

# A group is computed with one dense mask up to this many tokens, and segment by segment above. At 220 tokens a group
# the two took the same time (2 cores, 12 M parameters); long groups need the second, whose cost grows less fast.
DENSE_TOKENS = 320


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
        self.families = _families(segments)
        self.device = device
        self.used = 0  # layers that attended by it: zero means that the model did not take it
        self._masks: dict[tuple[Any, ...], Tensor] = {}

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

    def branch_mask(self, root: int, branch: int, window: int | None) -> Tensor:
        """(B, root + B) bool: a branch attends to its root and causally to itself."""
        key = (root, branch, window, "branch")
        if key not in self._masks:
            query = torch.arange(root, root + branch, device=self.device)
            gap = query[:, None] - torch.arange(root + branch, device=self.device)[None, :]
            self._masks[key] = (gap >= 0) & (gap < window if window else True)
        return self._masks[key]


def _families(segments: Sequence[Segment]) -> tuple[Family, ...]:
    families: list[tuple[int, list[int]]] = []
    for place, segment in enumerate(segments):
        if segment.parent < 0:
            families.append((segment.length, []))
            root = place
        else:
            assert segment.parent == root and segment.row == 0, "branches follow their root in one row"
            families[-1][1].append(segment.length)
    return tuple(Family(root_length, tuple(branches)) for root_length, branches in families)


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
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """(1, H, T, d) queries, (1, H_kv, T, d) keys and values -> (1, T, H, d)."""
    if segments is None and softcap is not None:
        capped = _Attend(dropout, scaling, softcap, None, False)(query, key, value, attention_mask)
        return capped.transpose(1, 2).contiguous(), None
    if segments is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    segments.used += 1
    precision = query.dtype
    if query.device.type == "cpu" and precision != torch.float32:
        # On CPUs the fused kernel is faster in float32, and in bf16 it keeps memory for every new length.
        query, key, value = query.float(), key.float(), value.float()
    families = segments.families
    lengths = [family.length for family in families]
    parts = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), families, strict=True)
    outputs: list[Tensor] = []
    for q, k, v, family in parts:
        attend = _Attend(dropout, scaling, softcap, sliding_window, q.shape[1] != k.shape[1])
        outputs += _family(attend, segments, family, q, k, v)
    joined = torch.cat(outputs, dim=2).to(precision)
    return joined.transpose(1, 2).contiguous(), None


class _Attend(NamedTuple):
    """The options of one layer's attention."""

    dropout: float
    scaling: float | None
    softcap: float | None
    window: int | None
    grouped: bool

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        if self.softcap is not None:
            return self._capped(q, k, v, mask)
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

    def _capped(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Gemma 2 bends attention scores: softcap * tanh(score / softcap), which no fused kernel on CPU offers."""
        repeats = q.shape[1] // k.shape[1]
        k, v = repeat_kv(k, repeats), repeat_kv(v, repeats)
        assert self.softcap is not None
        scale = self.scaling if self.scaling is not None else q.shape[-1] ** -0.5
        score = self.softcap * torch.tanh(q @ k.transpose(2, 3) * scale / self.softcap)
        if mask is None:
            mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril(k.shape[2] - q.shape[2])
        # The least finite number, not -inf: a row of padding that attends to nothing must not become NaN.
        weights = score.float().masked_fill(~mask, torch.finfo(torch.float32).min).softmax(-1).to(q.dtype)
        return torch.dropout(weights, self.dropout, self.dropout > 0) @ v


def _family(attend: _Attend, segments: Segments, family: Family, q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
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
        outputs.append(attend(q_own, keys, values, segments.branch_mask(family.root, q_own.shape[2], window)))
    return outputs


def _no_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """The masks of stock scaled-dot-product attention; they only serve calls without segments."""
    return sdpa_mask(*args, **kwargs)


AttentionInterface.register(NAME, segment_attention)
AttentionMaskInterface.register(NAME, _no_mask)
