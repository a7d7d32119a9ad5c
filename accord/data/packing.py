"""Documents -> blocks of a fixed length. A document never attends to another one of its block."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

import numpy as np

from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.records import Group, Origin


def pack(documents: Sequence[TokenGroup], length: int) -> list[TokenGroup]:
    """Blocks of at most `length` tokens, each one group: an empty prompt, and a completion for every document in it.

    A longer document is cut into pieces of `length`, each of which starts anew. Every piece goes into the fullest
    block that still has room for it, documents in the order given: a pure function of its arguments. A block comes
    from where its first document stands.
    """
    blocks: list[list[TokenCompletion]] = []
    sources: list[Origin] = []
    room: list[tuple[int, int]] = []  # (free tokens, block), ascending
    for piece, source in _pieces(documents, length):
        place = bisect.bisect_left(room, (len(piece.ids), -1))
        if place == len(room):
            blocks.append([])
            sources.append(source)
            free, block = length, len(blocks) - 1
        else:
            free, block = room.pop(place)
        blocks[block].append(piece)
        if left := free - len(piece.ids):
            bisect.insort(room, (left, block))
    empty = np.empty(0, dtype=np.int32)
    return [
        TokenGroup(Group(f"block-{number}", "", (), source=source), empty, tuple(pieces))
        for number, (pieces, source) in enumerate(zip(blocks, sources, strict=True), 1)
    ]


def _pieces(documents: Sequence[TokenGroup], length: int) -> Iterator[tuple[TokenCompletion, Origin]]:
    for document in documents:
        (completion,) = document.completions
        ids = np.concatenate([document.prompt, completion.ids])
        for start in range(0, len(ids), length):
            part = ids[start : start + length]
            piece = TokenCompletion(part, ((min(1, len(part)), len(part)),) if len(part) > 1 else ())
            yield piece, document.group.source
