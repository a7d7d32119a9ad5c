"""Documents as clusters: each by itself, or cut into stretches of characters that are the same for every tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accord.evaluate.surprise import Surprise

MANY = 30  # documents, from which on they are clusters enough
BLOCKS = 100  # of all texts: the longer a block, the less it depends on the next
SHORTEST = 1000  # characters
Floats = NDArray[np.float64]


class Sums(NamedTuple):
    """What one model's G clusters hold."""

    nats: Floats  # (G,)
    tokens: Floats  # (G,) that are predicted
    characters: Floats  # (G,) of the text that they are
    bytes: Floats  # (G,)

    def at(self, kept: NDArray[np.bool_]) -> Sums:
        """Some of the clusters."""
        return Sums(*(column[kept] for column in self))


def by_document(documents: Sequence[Surprise]) -> Sums:
    """A cluster for each document."""
    columns = ([one.nats.sum(), len(one.nats), one.characters, one.bytes] for one in documents)
    return Sums(*np.array(list(columns), dtype=np.float64).T)


def by_block(documents: Sequence[Surprise], size: int) -> Sums:
    """A cluster for each stretch of about `size` characters of a document; a token is of that in which it ends."""
    found = [_of_blocks(one, size) for one in documents]
    return Sums(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def block_size(documents: Sequence[Surprise]) -> int:
    """Characters of a block, where none are asked for."""
    total = sum(len(one.bytes_to) - 1 for one in documents)
    return max(SHORTEST, total // BLOCKS)


def _of_blocks(document: Surprise, size: int) -> tuple[Floats, Floats, Floats, Floats]:
    length = len(document.bytes_to) - 1
    count = max(1, round(length / size))
    edge = np.round(np.linspace(0, length, count + 1)).astype(np.int64)
    of = np.clip(np.searchsorted(edge, document.end, "left") - 1, 0, count - 1)
    nats = np.bincount(of, weights=document.nats, minlength=count).astype(np.float64)
    tokens = np.bincount(of, minlength=count).astype(np.float64)
    predicted = np.clip(edge, document.start, None) if len(document.nats) else np.zeros_like(edge)
    characters = np.diff(predicted).astype(np.float64)
    return nats, tokens, characters, np.diff(document.bytes_to[predicted]).astype(np.float64)
