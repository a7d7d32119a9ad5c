"""Token groups as one micro-batch: where each token of it lies.

Shapes: R rows, T tokens a row, S segments, C completions, N predicted tokens; G prompts of Tp tokens in two parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.errors import InputError

Layout = Literal["tree", "cache", "rows", "encoder"]
TWO_PARTS: tuple[Layout, ...] = ("cache", "encoder")
IntArray = np.ndarray


class Segment(NamedTuple):
    """A stretch of one row, `start` to `end`, that continues the segment `parent` (-1: it begins a sequence).

    A token attends to the earlier tokens of its own segment and to the whole of its parent.
    """

    row: int
    start: int
    end: int
    parent: int = -1

    @property
    def length(self) -> int:
        return self.end - self.start


class Prompts(NamedTuple):
    """The prompts of a micro-batch of two parts: computed first and once, every completion then on its own.

    cache: padded on the left, so that distances along the row are distances of positions; without their last token,
    which begins every completion's row. encoder: whole, padded on the right.
    """

    tokens: Tensor  # (G, Tp)
    mask: Tensor  # (G, Tp) bool: a token stands here
    of: Tensor  # (C,) the prompt of each row of completions

    def to(self, device: torch.device | str) -> Prompts:
        return Prompts(*(tensor.to(device, non_blocking=True) for tensor in self))


class Batch(NamedTuple):
    """One micro-batch of whole groups, whatever its layout. Completions are in the order of `members`.

    Where it has `prompts`, its rows hold completions only, each behind one token: the prompt's last, or the decoder's
    start token.
    """

    tokens: Tensor  # (R, T)
    positions: Tensor  # (R, T)
    segments: tuple[Segment, ...]  # (S,) places not covered are padding
    predict: Tensor  # (N,) flat places whose next token carries loss
    target: Tensor  # (N,) that token
    owner: Tensor  # (N,) the completion it belongs to, in 0..C-1
    last: Tensor  # (C,) flat place of each completion's last token
    layout: Layout
    members: tuple[TokenGroup, ...]
    indices: tuple[int, ...]  # each member's place in the data set it came from
    prompts: Prompts | None = None

    @property
    def completions(self) -> int:
        return len(self.last)

    @property
    def token_count(self) -> int:
        """Tokens that go through the model, padding not counted."""
        return sum(size(group, self.layout) for group in self.members)

    @property
    def places(self) -> int:
        """Tokens that go through the model, padding counted."""
        return self.tokens.numel() + (self.prompts.tokens.numel() if self.prompts else 0)

    def to(self, device: torch.device | str) -> Batch:
        """The same micro-batch with its tensors on a device."""
        moved: dict[str, Any] = {
            name: value.to(device) if isinstance(value, Prompts) else value.to(device, non_blocking=True)
            for name, value in zip(self._fields, self, strict=True)
            if isinstance(value, Tensor | Prompts)
        }
        return self._replace(**moved)


class _Writer:
    """Collects tokens, segments and predicted places while rows are laid out."""

    def __init__(self) -> None:
        self.tokens: list[list[IntArray]] = [[]]
        self.positions: list[list[IntArray]] = [[]]
        self.width: list[int] = [0]
        self.segments: list[Segment] = []
        self.predict: list[tuple[int, IntArray]] = []  # row, places in the row
        self.target: list[IntArray] = []
        self.owner: list[IntArray] = []
        self.last: list[tuple[int, int]] = []

    def new_row(self) -> None:
        if self.width[-1]:
            self.tokens.append([])
            self.positions.append([])
            self.width.append(0)

    def segment(self, ids: IntArray, *, position: int, parent: int = -1) -> int:
        row, start = len(self.width) - 1, self.width[-1]
        self.tokens[row].append(ids)
        self.positions[row].append(np.arange(position, position + len(ids)))
        self.width[row] += len(ids)
        self.segments.append(Segment(row, start, start + len(ids), parent))
        return len(self.segments) - 1

    def completion(self, ids: IntArray, loss: Sequence[tuple[int, int]], *, start: int, before: int) -> None:
        """A completion whose first token lies at `start` of the row; predicted at `before`, or nowhere (-1)."""
        row, owner = len(self.width) - 1, len(self.last)
        places = np.concatenate([np.arange(a, b) for a, b in loss]) if loss else np.zeros(0, int)
        if before < 0:
            places = places[places > 0]
        self.predict.append((row, np.where(places == 0, before, start + places - 1)))
        self.target.append(ids[places])
        self.owner.append(np.full(len(places), owner))
        self.last.append((row, start + len(ids) - 1))

    def batch(self, layout: Layout, members: Sequence[TokenGroup], indices: Sequence[int], pad: int) -> Batch:
        width = max(self.width)
        tokens = np.full((len(self.width), width), pad, dtype=np.int64)
        positions = np.zeros((len(self.width), width), dtype=np.int64)
        for row, used in enumerate(self.width):
            if used:
                tokens[row, :used] = np.concatenate(self.tokens[row])
                positions[row, :used] = np.concatenate(self.positions[row])
        flat = [row * width + places for row, places in self.predict]
        last = [row * width + place for row, place in self.last]
        predict, target, owner = (
            torch.from_numpy(np.concatenate(part).astype(np.int64)) for part in (flat, self.target, self.owner)
        )
        return Batch(
            torch.from_numpy(tokens),
            torch.from_numpy(positions),
            tuple(self.segments),
            predict,
            target,
            owner,
            torch.tensor(last),
            layout,
            tuple(members),
            tuple(indices),
        )


def arrange(
    members: Sequence[TokenGroup],
    layout: Layout,
    *,
    pad: int = 0,
    indices: Sequence[int] | None = None,
    start: int | None = None,
) -> Batch:
    """Lays whole groups out as one micro-batch.

    tree: one row holds every group, each prompt once, its completions as branches that continue its positions.
    rows: one row a completion, the prompt repeated, padded on the right.
    cache: prompts and completions apart, see `Prompts`; rows where no two completions share anything to be kept.
    encoder: prompts for the encoder, completions for the decoder, each behind `start`, the decoder's start token.
    """
    if layout == "cache" and not any(map(shares, members)):
        layout = "rows"
    writer = _Writer()
    for group in members:
        if layout == "tree":
            _tree(writer, group)
        elif layout == "encoder":
            assert start is not None, "the encoder layout needs the decoder's start token"
            _behind(writer, group, np.array([start]), position=0)
        else:
            kept = max(len(group.prompt) - 1, 0) if layout == "cache" else 0
            _behind(writer, group, group.prompt[kept:], position=kept)
    batch = writer.batch(layout, members, range(len(members)) if indices is None else indices, pad)
    return batch._replace(prompts=_prompts(members, layout, pad)) if layout in TWO_PARTS else batch


def halves(batch: Batch) -> list[Batch]:
    """The same groups in the same order as two micro-batches, as even as whole groups allow; of two groups or more."""
    ends = np.cumsum([size(group, batch.layout) for group in batch.members])
    middle = 1 + int(np.abs(ends[:-1] * 2 - ends[-1]).argmin())
    return [piece(batch, 0, middle), piece(batch, middle, len(batch.members))]


def piece(batch: Batch, start: int, end: int) -> Batch:
    """Some of a micro-batch's groups, `start` to `end`, as one of their own."""
    first = int(batch.tokens[0, 0]) if batch.layout == "encoder" else None  # every decoder row begins with it
    return arrange(batch.members[start:end], batch.layout, indices=batch.indices[start:end], start=first)


def shares(group: TokenGroup) -> bool:
    """Whether a cached prompt, which lacks its last token, would serve more than one completion."""
    return len(group.prompt) > 1 and len(group.completions) > 1


def _tree(writer: _Writer, group: TokenGroup) -> None:
    prompt = len(group.prompt)
    if len(group.completions) == 1 or not prompt:
        for completion in group.completions:
            _sequence(writer, group.prompt, completion)
        return
    root = writer.segment(group.prompt, position=0)
    before = writer.segments[root].end - 1
    for completion in group.completions:
        branch = writer.segment(completion.ids, position=prompt, parent=root)
        writer.completion(completion.ids, completion.loss, start=writer.segments[branch].start, before=before)


def _behind(writer: _Writer, group: TokenGroup, head: IntArray, *, position: int) -> None:
    """One row a completion, behind `head`."""
    for completion in group.completions:
        writer.new_row()
        _sequence(writer, head, completion, position=position)


def _sequence(writer: _Writer, head: IntArray, completion: TokenCompletion, *, position: int = 0) -> None:
    ids = np.concatenate([head, completion.ids])
    start = writer.segments[writer.segment(ids, position=position)].start + len(head)
    writer.completion(completion.ids, completion.loss, start=start, before=start - 1 if len(head) else -1)


def _prompts(members: Sequence[TokenGroup], layout: Layout, pad: int) -> Prompts:
    left = layout == "cache"
    parts = [group.prompt[:-1] if left else group.prompt for group in members]
    for group in members:
        if not left and not len(group.prompt):
            what = "no prompt, and an encoder cannot read nothing"
            raise InputError(what, where=str(group.group.source), fix="give it one, or use a model that only decodes")
    width = max(map(len, parts))
    tokens = np.full((len(parts), width), pad, dtype=np.int64)
    mask = np.zeros((len(parts), width), dtype=bool)
    for row, ids in enumerate(parts):
        places = slice(width - len(ids), width) if left else slice(len(ids))
        tokens[row, places], mask[row, places] = ids, True
    of = np.repeat(np.arange(len(parts)), [len(group.completions) for group in members])
    return Prompts(torch.from_numpy(tokens), torch.from_numpy(mask), torch.from_numpy(of))


def size(group: TokenGroup, layout: Layout) -> int:
    """Tokens that a group puts through the model in a layout, padding not counted."""
    prompt, count = len(group.prompt), len(group.completions)
    own = sum(len(completion.ids) for completion in group.completions)
    if layout == "cache":
        return own + (prompt - 1 + count if prompt else 0)
    if layout == "encoder":
        return own + prompt + count
    return own + prompt * (1 if layout == "tree" else count)


def places(group: TokenGroup, layout: Layout) -> int:
    """As `size`, padding counted: what a micro-batch of this group alone has."""
    prompt, count = len(group.prompt), len(group.completions)
    if layout == "tree":
        return size(group, layout)
    if layout == "rows" or not (layout == "encoder" or shares(group)):
        return count * group.length
    own = group.length - prompt
    return prompt - 1 + count * (1 + own) if layout == "cache" else prompt + count * (1 + own)
