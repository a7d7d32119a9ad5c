"""Which token groups share a micro-batch."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from accord.data.batches import Batch, Layout, arrange, size
from accord.data.dialogue import TokenGroup


def micro_batches(
    groups: Sequence[TokenGroup],
    indices: Sequence[int],
    *,
    max_tokens: int,
    layout: Layout,
    pad: int = 0,
    start: int | None = None,
) -> Iterator[Batch]:
    """Cuts groups into micro-batches of at most `max_tokens` places (padding counted); a larger group stands alone.

    tree: as few as will do, filled evenly. Else: similar lengths together. A step's loss does not depend on the cut.
    """
    cut = _even if layout == "tree" else _similar if layout == "rows" else _similar_parts
    for held in cut(groups, indices, max_tokens):
        yield arrange([groups[i] for i in held], layout, pad=pad, indices=held, start=start)


def _even(groups: Sequence[TokenGroup], indices: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Largest first, each into the emptiest bin that has room: no bin is fuller than it need be."""
    ordered = sorted(indices, key=lambda i: (-size(groups[i], "tree"), i))
    alone = [i for i in ordered if size(groups[i], "tree") >= max_tokens]
    ordered = ordered[len(alone) :]
    total = sum(size(groups[i], "tree") for i in ordered)
    bins: list[list[int]] = [[] for _ in range(-(-total // max_tokens))]
    heap = [(0, place) for place in range(len(bins))]
    for i in ordered:
        used, place = heapq.heappop(heap)
        if used + size(groups[i], "tree") > max_tokens:
            heapq.heappush(heap, (used, place))
            used, place = 0, len(bins)
            bins.append([])
        bins[place].append(i)
        heapq.heappush(heap, (used + size(groups[i], "tree"), place))
    yield from ([i] for i in alone)
    yield from (held for held in bins if held)


def _similar(groups: Sequence[TokenGroup], indices: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Longest first, as many as fit with every row as wide as the first."""
    held: list[int] = []
    rows = 0
    for i in sorted(indices, key=lambda i: (-groups[i].length, i)):
        count = len(groups[i].completions)
        if held and (rows + count) * groups[held[0]].length > max_tokens:
            yield held
            held, rows = [], 0
        held.append(i)
        rows += count
    if held:
        yield held


def _similar_parts(groups: Sequence[TokenGroup], indices: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Longest first, by whichever part takes more places; as many as fit with both parts as wide as their widest."""

    def widths(i: int) -> tuple[int, int]:
        return len(groups[i].prompt), 1 + groups[i].length - len(groups[i].prompt)

    counts = {i: len(groups[i].completions) for i in indices}
    by_prompt = sum(widths(i)[0] - counts[i] * widths(i)[1] for i in indices) > 0
    held: list[int] = []
    rows = prompt = completion = 0
    for i in sorted(indices, key=lambda i: (*(-n for n in (widths(i) if by_prompt else widths(i)[::-1])), i)):
        wider = max(prompt, widths(i)[0]), max(completion, widths(i)[1])
        if held and (len(held) + 1) * wider[0] + (rows + counts[i]) * wider[1] > max_tokens:
            yield held
            held, rows, wider = [], 0, widths(i)
        held.append(i)
        rows += counts[i]
        prompt, completion = wider
    if held:
        yield held
