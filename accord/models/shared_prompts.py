"""Keys and values while sampling: those of a prompt stand once and serve all its samples, each sample has its own.

Everything is written into memory that is there already; nothing is appended by copying.

Shapes: P prompts of Lp tokens at most, N rows, H_kv heads with keys, d numbers. A prompt has S slots: each is the place
of one row, or of none and then computed for nobody.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

ROOM = 64  # tokens behind the prompt for which there is room at first; it doubles

Pair = tuple[Tensor, Tensor]  # keys and values


class Slots(NamedTuple):
    """Where rows stand. place: (N,) in P x S; None where rows stand in order and no slot is free."""

    prompts: int
    each: int
    place: Tensor | None

    def spread(self, x: Tensor) -> Tensor:
        """(N, ...) -> (P, S, ...), 0 where no row stands."""
        if self.place is not None:
            x = x.new_zeros(self.prompts * self.each, *x.shape[1:]).index_copy_(0, self.place, x)
        made: Tensor = x.unflatten(0, (self.prompts, self.each))
        return made

    def gather(self, x: Tensor) -> Tensor:
        """(P, S, ...) -> (N, ...)."""
        x = x.flatten(0, 1)
        return x if self.place is None else x[self.place]

    @property
    def places(self) -> Tensor:
        """(N,) also where rows stand in order."""
        return torch.arange(self.prompts * self.each) if self.place is None else self.place


def slots(of: Tensor) -> Slots:
    """(N,) the prompt of each row, in 0..P-1 and each with rows -> a slot of its prompt for each row."""
    counts = torch.bincount(of)
    each, order = int(counts.max()), of.argsort(stable=True)
    rank = torch.empty_like(of)
    rank[order] = torch.arange(len(of), device=of.device) - (counts.cumsum(0) - counts)[of[order]]
    place = of * each + rank
    in_order = torch.equal(place, torch.arange(len(counts) * each, device=of.device))
    return Slots(len(counts), each, None if in_order else place)


class Layer:
    """What one layer keeps. prompt: (P, H_kv, Lp, d); own: (P, H_kv, S, room, d), whose first tokens are written."""

    def __init__(self, prompt: Pair) -> None:
        self.prompt = prompt
        self.own: Pair | None = None

    def write(self, new: Pair, at: int) -> Pair:
        """(P, H_kv, S, d) of the next token, the `at`-th behind each prompt -> (P, H_kv, S, at + 1, d)."""
        room = self.own[0].shape[3] if self.own else 0
        if self.own is None or at >= room:
            before = self.own
            wide = [x.new_empty(*x.shape[:3], max(ROOM, 2 * room), x.shape[3]) for x in new]
            self.own = (wide[0], wide[1])
            for x, old in zip(self.own, before or (), strict=False):
                x[..., :room, :] = old
        for x, one in zip(self.own, new, strict=True):
            x[..., at, :] = one
        return self.own[0][..., : at + 1, :], self.own[1][..., : at + 1, :]

    def keep(self, live: Tensor, source: Tensor, written: int) -> None:
        """live: (P',) the prompts that stay. source: (P', S') the old place, in P x S, of what goes into each slot."""
        if self.own is not None:
            self.own = (_moved(self.own[0], source, written), _moved(self.own[1], source, written))
        if len(live) < len(self.prompt[0]):
            self.prompt = (self.prompt[0][live], self.prompt[1][live])


def _moved(own: Tensor, source: Tensor, written: int) -> Tensor:
    """(P, H_kv, S, room, d), (P', S') in P x S -> (P', H_kv, S', room, d)."""
    heads, each = own.shape[1:3]
    head = torch.arange(heads, device=own.device)[:, None]
    flat = ((source // each)[:, None] * heads + head) * each + (source % each)[:, None]  # (P', H_kv, S')
    made = own.new_empty(*flat.shape, *own.shape[3:])
    made[..., :written, :] = own.flatten(0, 2)[:, :written].index_select(0, flat.flatten()).unflatten(0, flat.shape)
    return made
