"""Blocks of bytes -> lines -> rows of JSON. Memory holds one block and one row, however large the file is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from accord.data.strict_json import Flawed, record_error, row_of
from accord.errors import InputError
from accord.records import Origin

BLOCK = 2**18  # bytes read at a time
ROW_LIMIT = 32 * 2**20  # bytes of one row; a longer one is refused before it is parsed
SKIP_LIMIT = 2**30  # bytes of a row that is skipped; what goes on for longer is no file of rows (or a bomb)

Raw = tuple[Origin, object]  # where a row stands, and the row: a mapping, a Group, or the RecordError that it is


class RowOrigin(Origin):
    """An Origin whose number counts rows: in a Parquet file, or where several rows stand in one line."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"{self.file}: row {self.line}"


def line_rows(blocks: Iterable[bytes], name: str) -> Iterator[Raw]:
    """One row a line, blank ones left out."""
    for number, line in enumerate(lines(blocks, name), 1):
        if line is None:
            origin = Origin(name, number)
            yield origin, record_error(too_large(), b"", origin)
        elif line and not line.isspace():
            origin = Origin(name, number)
            yield origin, row_of(line, origin)


def lines(blocks: Iterable[bytes], name: str) -> Iterator[bytes | None]:
    """The lines without their line feeds; None for one of more than ROW_LIMIT bytes, of which nothing is kept."""
    held = Held(name)
    for block in blocks:
        first, *others = block.split(b"\n")
        held.add(first)
        if others:
            yield held.take()
            yield from others[:-1]
            held.add(others[-1])
    if held.size:
        yield held.take()


class Held:
    """The pieces of the row that is being read, up to ROW_LIMIT bytes."""

    def __init__(self, name: str) -> None:
        self.name, self.size = name, 0
        self.pieces: list[bytes] = []

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size > SKIP_LIMIT:
            raise InputError(f"a row of more than {SKIP_LIMIT >> 30} GB", where=self.name, fix="check the file")
        if self.size > ROW_LIMIT:
            self.pieces.clear()
        else:
            self.pieces.append(piece)

    def take(self) -> bytes | None:
        """What was added since the last time, or None where that is too long."""
        taken = b"".join(self.pieces) if self.size <= ROW_LIMIT else None
        self.size = 0
        self.pieces.clear()
        return taken


def too_large() -> Flawed:
    return Flawed("too_large", f"a row of more than {ROW_LIMIT >> 20} MB")
