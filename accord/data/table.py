"""Token groups as columns: written in a stream, and read where they lie, so that a file of them can be mapped.

G groups with C completions, L stretches of loss and N tokens in all, in the order of their source.
"""

from __future__ import annotations

import gc
import hashlib
import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.data.lines import RowOrigin
from accord.data.order import ASKS
from accord.records import Judged, Judgement, Origin, Said

MARK = 32  # bytes of a group's mark
ROWS = "rows"  # stands behind a place whose number counts rows, not lines


class Columns(NamedTuple):
    """What is kept of token groups. A group's tokens are its prompt's and then those of its completions in turn."""

    prompt: npt.NDArray[np.int32]  # (G,) tokens
    completions: npt.NDArray[np.int32]  # (G,) how many
    length: npt.NDArray[np.int32]  # (C,) tokens
    stretches: npt.NDArray[np.int32]  # (C,) how many
    loss: npt.NDArray[np.int32]  # (L, 2) from and to, counted in the completion
    said_end: npt.NDArray[np.int64]  # (G,) where a group's words end in `said`
    mark: npt.NDArray[np.uint8]  # (G, MARK) of its tokens, its loss and what was said: `mark_of`
    asks: npt.NDArray[np.uint8]  # (G, ASKS) of its prompt: `asks`


class Recorded:
    """A group without its texts, read from its JSON when something of it is asked for.

    names: what files that are named there are called now, where that is something else.
    """

    __slots__ = ("_data", "_names", "_said")

    def __init__(self, data: npt.NDArray[np.uint8], names: Mapping[str, str]) -> None:
        self._data, self._names = data, names
        self._said: Said | None = None

    @property
    def said(self) -> Said:
        if self._said is None:
            self._said = said_from(json.loads(self._data.tobytes()), self._names)
        return self._said

    @property
    def id(self) -> str:
        return self.said.id

    @property
    def judgements(self) -> tuple[Judgement, ...]:
        return self.said.judgements

    @property
    def weight(self) -> float:
        return self.said.weight

    @property
    def category(self) -> str | None:
        return self.said.category

    @property
    def source(self) -> Origin:
        return self.said.source

    @property
    def same(self) -> tuple[int, ...]:
        return self.said.same


def said_to_json(said: Judged) -> dict[str, Any]:
    """Plain values; what a judgement does not have is left out."""
    judgements = [judgement.said for judgement in said.judgements]
    source = [*said.source, *([ROWS] if isinstance(said.source, RowOrigin) else [])]
    found = {"id": said.id, "source": source, "same": said.same, "judgements": judgements}
    rest = {"weight": said.weight, "category": said.category}
    return found | {key: value for key, value in rest.items() if value not in (None, 1.0)}


def said_from(found: Mapping[str, Any], names: Mapping[str, str] = MappingProxyType({})) -> Said:
    """The reverse of `said_to_json`. names: as in `Recorded`."""
    judgements = tuple(Judgement(**_tuples(row)) for row in found["judgements"])
    file, line, *counts = found["source"]
    file = names.get(file, file)
    source = RowOrigin(file, line) if counts == [ROWS] else Origin(file, line)
    return Said(found["id"], judgements, found.get("weight", 1.0), found.get("category"), source, tuple(found["same"]))


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def mark_of(tokens: TokenGroup) -> bytes:
    """MARK bytes: equal only for the same tokens with the same loss of which the same was said."""
    said = tokens.group
    found = hashlib.sha256(f"{said.id}|{said.weight!r}|{said.judgements!r}|{len(tokens.prompt)}|".encode())
    found.update(tokens.prompt.tobytes())
    for completion in tokens.completions:
        found.update(f"{len(completion.ids)}|{completion.loss}|".encode() + completion.ids.tobytes())
    return found.digest()


class Writer:
    """Takes token groups one by one: their tokens and words go to two files, the rest stays in memory."""

    def __init__(self, ids: BinaryIO, said: BinaryIO) -> None:
        self._ids, self._said, self._said_end = ids, said, 0
        self._numbers = {name: array("i") for name in ("prompt", "completions", "length", "stretches", "loss")}
        self._ends = array("q")
        self._marks, self._asks = bytearray(), bytearray()

    def add(self, tokens: TokenGroup, *, asks: bytes) -> None:
        """asks: ASKS bytes that tell its prompt from others."""
        self._numbers["prompt"].append(len(tokens.prompt))
        self._numbers["completions"].append(len(tokens.completions))
        for completion in tokens.completions:
            self._numbers["length"].append(len(completion.ids))
            self._numbers["stretches"].append(len(completion.loss))
            self._numbers["loss"].extend(bound for stretch in completion.loss for bound in stretch)
        for ids in (tokens.prompt, *(completion.ids for completion in tokens.completions)):
            self._ids.write(ids.astype("<i4", copy=False).tobytes())
        words = json.dumps(said_to_json(tokens.group), ensure_ascii=False).encode()
        self._said.write(words)
        self._said_end += len(words)
        self._ends.append(self._said_end)
        self._marks += mark_of(tokens)
        self._asks += asks

    def __len__(self) -> int:
        return len(self._ends)

    def columns(self) -> Columns:
        """All but the tokens and the words."""
        numbers = {name: np.frombuffer(values, dtype=np.int32) for name, values in self._numbers.items()}
        numbers["loss"] = numbers["loss"].reshape(-1, 2)
        marks = np.frombuffer(self._marks, dtype=np.uint8).reshape(-1, MARK)
        asks = np.frombuffer(self._asks, dtype=np.uint8).reshape(-1, ASKS)
        return Columns(**numbers, said_end=np.frombuffer(self._ends, dtype=np.int64), mark=marks, asks=asks)


class Table(NamedTuple):
    """Columns, and what they count: ids (N,), said: the groups' words as JSON in UTF-8. names: as in `Recorded`."""

    columns: Columns
    ids: npt.NDArray[np.int32]
    said: npt.NDArray[np.uint8]
    names: Mapping[str, str] = MappingProxyType({})

    def groups(self) -> list[TokenGroup]:
        """(G,) Their tokens are views of `ids`; what was said is read when it is asked for."""
        collects = gc.isenabled()
        gc.disable()  # nothing here is garbage, and looking for it takes three times as long as all the rest
        try:
            return list(self._groups())
        finally:
            if collects:
                gc.enable()

    def _groups(self) -> Iterator[TokenGroup]:
        columns, at, words = self.columns, 0, 0
        tokens, said = self.ids.view(np.ndarray), self.said.view(np.ndarray)  # slices of a memmap are slow to make
        completions = iter(zip(columns.length.tolist(), self._stretches(), strict=True))
        counts = zip(columns.prompt.tolist(), columns.completions.tolist(), columns.said_end.tolist(), strict=True)
        for prompt, count, end in counts:
            ids, at = tokens[at : at + prompt], at + prompt
            held = []
            for _ in range(count):
                length, loss = next(completions)
                held.append(TokenCompletion(tokens[at : at + length], loss))
                at += length
            yield TokenGroup(Recorded(said[words:end], self.names), ids, tuple(held))
            words = end

    def _stretches(self) -> Iterator[tuple[tuple[int, int], ...]]:
        """Of each completion."""
        bounds, start = self.columns.loss.tolist(), 0
        for count in self.columns.stretches.tolist():
            yield tuple((low, high) for low, high in bounds[start : start + count])
            start += count


def fingerprint(marks: Sequence[bytes]) -> str:
    """sha256 over groups' marks: equal only for the same data in the same order."""
    return hashlib.sha256(b"".join(marks)).hexdigest()
