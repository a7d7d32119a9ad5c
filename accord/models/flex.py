"""Attention by segments in one kernel: FlexAttention over the blocks of a row in which anything may be attended to.

On CUDA, where the loop over segments of `accord.models.attention` starts kernels faster than they do any work. Dong et
al. 2024, Flex Attention. Used where it gives the loop's numbers and derivatives; else the loop stays.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from accord.data.batches import Segment

BLOCK = 128  # tokens; rows are padded to a multiple
Kernel = Callable[..., Any]
# Two rows and a window for the trial: families in parts of blocks and over several, roots alone, a window inside.
TRIALS: tuple[tuple[tuple[Segment, ...], int | None], ...] = (
    ((Segment(0, 0, 200), Segment(0, 200, 260, 0), Segment(0, 260, 360, 0), Segment(0, 360, 430)), None),
    ((Segment(0, 0, 5), Segment(0, 5, 8, 0), Segment(0, 8, 12, 0), Segment(0, 12, 142), Segment(0, 142, 442, 3)), 50),
)
# The largest difference, relative by norm, that counts as rounding.
AGREEMENT = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 5e-3}


class Span(NamedTuple):
    """Which places of its row each token attends to: own_from..itself, and parent_from..parent_to (not included)."""

    own_from: Tensor  # (T,)
    parent_from: Tensor  # (T,)
    parent_to: Tensor  # (T,)

    def pairs(self, blocks: int) -> Tensor:
        """(B, B) how many pairs of a query in one block and a key in another attend."""
        first = torch.arange(blocks, device=self.own_from.device) * BLOCK
        place = torch.arange(len(self.own_from), device=first.device)

        def within(start: Tensor, end: Tensor) -> Tensor:
            ends = torch.minimum(end[:, None], first + BLOCK)
            return (ends - torch.maximum(start[:, None], first)).clamp(min=0)

        each = within(self.own_from, place + 1) + within(self.parent_from, self.parent_to)
        return each.view(blocks, BLOCK, blocks).sum(1)


def spans(lengths: Sequence[tuple[int, Sequence[int]]], window: int | None, device: torch.device) -> Span:
    """(T,) of a row of families, each the length of its root and of its branches; T padded to whole blocks.

    The window counts positions: a branch's begin where its root ends. Padding attends to itself.
    """
    table: list[tuple[int, int, int, int]] = []  # of each segment: start, length, its root's start, tokens before it
    place = 0
    for root_length, branches in lengths:
        first = place
        for number, own in enumerate((root_length, *branches)):
            table.append((place, own, first, root_length if number else 0))
            place += own
    if padding := -place % BLOCK:
        table.append((place, padding, place, 0))
    start, length, root, before = torch.tensor(table, device=device).unbind(1)
    segment = torch.arange(len(table), device=device).repeat_interleave(length)
    at = torch.arange(place + padding, device=device)
    own_from, parent_from = start[segment], root[segment]
    parent_to = parent_from + before[segment]
    if window is not None:
        earliest = at - window + 1  # in places of the own segment, whose place 0 is position `before`
        parent_from = torch.minimum(parent_from + (earliest - own_from + before[segment]).clamp(min=0), parent_to)
        own_from = torch.maximum(own_from, earliest)
    return Span(own_from, parent_from, parent_to)


def block_mask(span: Span) -> BlockMask:
    """For FlexAttention: blocks without a pair are skipped, full ones need no mask, the others ask token by token."""
    blocks = len(span.own_from) // BLOCK
    pairs = span.pairs(blocks)
    full = pairs == BLOCK * BLOCK
    some = (pairs > 0) & ~full

    own_from, parent_from, parent_to = span  # plain tensors, which the compiler can take from a closure

    def mask_mod(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        own = (key >= own_from[query]) & (key <= query)
        return own | ((key >= parent_from[query]) & (key < parent_to[query]))

    length = blocks * BLOCK
    made: BlockMask = BlockMask.from_kv_blocks(
        *_in_order(some), *_in_order(full), BLOCK_SIZE=BLOCK, mask_mod=mask_mod, seq_lengths=(length, length)
    )
    return made


def _in_order(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """(B, B) bool -> how many blocks of keys each block of queries has, and which, those first."""
    order = blocks.int().argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(-1, dtype=torch.int32)[None, None], order.int()[None, None]


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: BlockMask,
    scaling: float | None,
    softcap: float | None,
    kernel: Kernel,
) -> Tensor:
    """(1, H, T, d) queries, (1, H_kv, T, d) keys and values -> (1, H, T, d)."""
    length = query.shape[2]
    missing = mask.seq_lengths[0] - length
    q, k, v = (torch.nn.functional.pad(x, (0, 0, 0, missing)) for x in (query, key, value))
    grouped = q.shape[1] != k.shape[1]
    output: Tensor = kernel(q, k, v, score_mod=_capped(softcap), block_mask=mask, scale=scaling, enable_gqa=grouped)
    return output[:, :, :length]


@cache
def _capped(softcap: float | None) -> Callable[..., Tensor] | None:
    """Gemma 2: softcap * tanh(score / softcap). One function for each value, so that it is compiled once."""
    if softcap is None:
        return None

    def score_mod(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap)

    return score_mod


def available(device: torch.device) -> bool:
    """Whether there is a compiler for this kind of device."""
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None


@cache
def compiled() -> Kernel:
    """One kernel for rows of any length."""
    kernel: Kernel = torch.compile(flex_attention, dynamic=True)
    return kernel


Way = Callable[..., Tensor]  # (row, window, query, key, value) -> (1, H, T, d)


def agree(fused: Way, loop: Way, device: torch.device, dtype: torch.dtype, shape: tuple[int, int, int]) -> bool:
    """Whether the two give the same numbers and derivatives on the trial rows. shape: (H, H_kv, d)."""
    heads, kv_heads, width = shape
    draw = torch.Generator().manual_seed(0)
    for row, window in TRIALS:
        tensors = [torch.randn(1, n, row[-1].end, width, generator=draw) for n in (heads, kv_heads, kv_heads, heads)]
        *inputs, slope = (tensor.to(device, dtype).requires_grad_() for tensor in tensors)
        try:
            pairs = zip(*(_with_derivatives(way, row, window, inputs, slope) for way in (fused, loop)), strict=True)
            if not all((one - two).norm() <= AGREEMENT[dtype] * two.norm() for one, two in pairs):
                return False
        except Exception:  # a kernel that does not compile, or finds no room, for this shape on this device
            return False
    return True


@torch.enable_grad()
def _with_derivatives(
    way: Way, row: Sequence[Segment], window: int | None, inputs: Sequence[Tensor], slope: Tensor
) -> list[Tensor]:
    output = way(row, window, *inputs)
    return [output.detach().float(), *(each.float() for each in torch.autograd.grad(output, inputs, slope))]
