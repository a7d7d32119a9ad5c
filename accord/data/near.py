"""Rows of nearly the same text: MinHash of their pieces, looked up by parts (Broder 1997; Indyk and Motwani 1998).

A text is taken as the set of its runs of PIECE bytes, in lower case. Two texts are as near as the share of pieces that
they have in common (Jaccard). A hash puts every piece into one of BINS bins with a value, and each bin keeps the least
(one permutation hashing: Li, Owen and Zhang 2012): the share of bins that agree estimates the nearness, with a
standard error of 0.06 at 0.8. Texts with few pieces for so many bins are kept, and their pieces compared. Prompt and
completions are looked at apart, so that different answers to one long prompt are not taken for the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from accord.data.check import turns_of
from accord.data.findings import Finding
from accord.records import Group, Origin, Text

PIECE = 8  # bytes
BINS = 48  # of a prompt, and as many of the completions
BAND = 3  # bins of each that have to agree for a pair to be looked at: 16 chances; 0.8 and 0.8 are found in 99 of 100
NEAR = 0.8  # of prompt and completions both
SHORT = 4 * BINS  # bytes; up to here an estimate by bins says little, and the text is kept
DOUBTFUL = 0.5  # estimates from here on are looked at again, where texts are short
BUFFER = 2**18  # bytes of text that are hashed at a time
CHUNK = 2**14  # pairs of rows that are compared at a time
EMPTY = np.uint32(0xFFFFFFFF)

Signatures = npt.NDArray[np.uint32]  # (n, 2 * BINS)
Places = npt.NDArray[np.int64]


class Near:
    """Takes groups one by one. Of each it keeps half a kilobyte, twice that of short ones.

    A finding names the row that was there first.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[Origin, str]] = []  # with its id
        self._same: list[int] = []  # of each row, a number that rows of the very same texts share
        self._signatures: list[npt.NDArray[np.uint32]] = []  # blocks (n, 2 * BINS)
        self._short: dict[tuple[int, int], bytes] = {}  # row, side (0 the prompt, 1 the completions) -> its text
        self._waiting: list[bytes] = []
        self._size = 0

    def add(self, group: Group, same: int) -> None:
        """same: a number that groups of the very same texts share; they are not called nearly the same."""
        prompt = _bytes(group.prompt)
        completions = b"\n\n".join(_bytes(completion.content) for completion in group.completions)
        for side, text in enumerate((prompt or completions, completions or prompt)):
            self._waiting.append(text)
            self._size += len(text)
            if len(text) <= SHORT:
                self._short[len(self._rows), side] = text
        self._rows.append((group.source, group.id))
        self._same.append(same)
        if self._size > BUFFER:
            self._hash()

    def _hash(self) -> None:
        if self._waiting:
            self._signatures.append(signatures(self._waiting).reshape(-1, 2 * BINS))
        self._waiting, self._size = [], 0

    def findings(self) -> list[Finding]:
        """One for each row that is near to an earlier one, the first such."""
        self._hash()
        if not self._signatures:
            return []
        whole, same = np.concatenate(self._signatures), np.array(self._same)
        nearest = np.full(len(whole), len(whole))  # the first row that each is near to
        shares = np.zeros(len(whole))
        for bands in _bands(whole).T:
            first = _first(bands)
            rows = np.flatnonzero((first < nearest) & (first < np.arange(len(whole))) & (same[first] != same))
            near = self._nearness(whole, rows, first[rows])
            kept = near >= NEAR
            nearest[rows[kept]], shares[rows[kept]] = first[rows[kept]], near[kept]
        return [
            self._finding(row, int(nearest[row]), shares[row]) for row in np.flatnonzero(nearest < len(whole)).tolist()
        ]

    def _nearness(self, whole: Signatures, rows: Places, others: Places) -> npt.NDArray[np.float64]:
        """(n,) the lesser of the shares that the prompts and the completions have in common."""
        sides = _agreement(whole, rows, others)
        for i in np.flatnonzero(sides.min(axis=1) >= DOUBTFUL).tolist():
            for side in range(2):
                one, other = (self._short.get((int(row), side)) for row in (rows[i], others[i]))
                if one is not None and other is not None:
                    sides[i, side] = jaccard(one, other)
        least: npt.NDArray[np.float64] = sides.min(axis=1)
        return least

    def _finding(self, row: int, twin: int, share: float) -> Finding:
        (origin, id), (there, name) = self._rows[row], self._rows[twin]
        what = f"about {100 * min(share, 0.99):.0f} % the same as {there} (id {name})"
        return Finding("near_duplicate", origin, what, "", id)


def _first(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """(n,) for each value the place where it stands first."""
    _, places, inverse = np.unique(values, return_index=True, return_inverse=True)
    return places[inverse]


def jaccard(one: bytes, other: bytes) -> float:
    """The share of their pieces that two texts have in common."""
    a, b = ({text[i : i + PIECE] for i in range(max(1, len(text) - PIECE + 1))} for text in (one, other))
    return len(a & b) / len(a | b)


def _agreement(whole: Signatures, rows: Places, others: Places) -> npt.NDArray[np.float64]:
    """(n, 2) the share of the prompts' bins and of the completions' that are the same, CHUNK pairs at a time."""
    found = [np.empty((0, 2))]
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        agree = whole[rows[part]] == whole[others[part]]
        found.append(agree.reshape(-1, 2, BINS).mean(axis=2))
    return np.concatenate(found)


def _bytes(content: Text) -> bytes:
    text = content if isinstance(content, str) else "\n".join(turn.content for turn in turns_of(content))
    return text.lower().encode("utf-8", "surrogatepass")


def signatures(texts: list[bytes]) -> npt.NDArray[np.uint32]:
    """(n, BINS) the least value of the pieces in each bin; an empty bin takes that of the next one that is not."""
    padded = [text.ljust(PIECE, b"\0") for text in texts]
    bytes_ = np.frombuffer(b"".join(padded) + bytes(PIECE), dtype=np.uint8)
    lengths = np.fromiter(map(len, padded), dtype=np.int64, count=len(padded))
    owner = np.repeat(np.arange(len(texts)), lengths)
    left = np.repeat(lengths.cumsum(), lengths) - np.arange(len(owner))  # bytes from here to the end of the text
    inside = left >= PIECE
    mixed = _mixed(_pieces(bytes_)[: len(owner)][inside])
    place = owner[inside] * BINS + ((mixed >> np.uint64(32)) * np.uint64(BINS) >> np.uint64(32)).astype(np.int64)
    least = np.full(len(texts) * BINS, EMPTY)
    np.minimum.at(least, place, mixed.astype(np.uint32))
    return _filled(least.reshape(-1, BINS))


def _pieces(of: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """(n,) the PIECE = 8 bytes from each place on as one number; the last places have zeros after them."""
    found = of.astype(np.uint64)
    for width in (1, 2, 4):
        found[:-width] |= found[width:] << np.uint64(8 * width)
    return found


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Spreads numbers over 64 bits: the last steps of MurmurHash3."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        values = (values ^ (values >> np.uint64(33))) * np.uint64(factor)
    return values ^ (values >> np.uint64(33))


def _filled(least: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Empty bins filled from the next one to the right, around the end: short texts have few pieces."""
    for _ in range(BINS):
        empty = least == EMPTY
        if not empty.any():
            break
        least = np.where(empty, np.roll(least, -1, axis=1), least)
    return least


def _bands(block: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    """(n, BINS / BAND) one number for BAND bins of the prompt with BAND bins of the completions, and for which."""
    parts = block.reshape(len(block), 2, BINS // BAND, BAND).astype(np.uint64)
    found = np.broadcast_to(np.arange(BINS // BAND, dtype=np.uint64), (len(block), BINS // BAND))
    for side in range(2):
        for bin_ in range(BAND):
            found = _mixed(found * np.uint64(0x9E3779B97F4A7C15) + parts[:, side, :, bin_])
    return found
