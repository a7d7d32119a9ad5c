"""Blocks of bytes that are one JSON list -> its elements, one by one.

Only brackets, commas and the ends of strings are looked for; each element is then parsed as a line would be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from accord.data.fields import Counted
from accord.data.lines import Held, Raw, RowOrigin, too_large
from accord.data.strict_json import Flawed, record_error, value_of
from accord.errors import InputError
from accord.records import Origin

# Possessive: linear time and no memory, also on strings of millions of escapes.
IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
TO_COMMA = re.compile(rb'(?:[^"\[\]{},]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
# Always matches where it is tried, so that finditer leaves nothing out: up to a bracket, a cut string, or the end.
MARK = re.compile(TO_BRACKET.pattern + rb'([\[\]{}]|(?=")|\Z)', re.DOTALL)
STEP = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}
SPACE = b" \t\r\n"
CONTINUATION = bytes(range(0x80, 0xC0))  # the bytes of UTF-8 that begin no character


class Element(NamedTuple):
    """data: its bytes, None where they are too many. line, column: where it starts, from 1."""

    data: bytes | None
    line: int
    column: int


def list_rows(blocks: Iterable[bytes], name: str) -> Iterator[Raw]:
    """The elements of a JSON list. InputError where it is no list: beyond that place no row could be trusted.

    The Origin has the line where the element starts; a RowOrigin, which element it is, where another starts there too.
    As lines do not tell rows apart here, the ids of rows without one count them.
    """
    before = 0
    for number, element in enumerate(elements(blocks, name), 1):
        line = Origin(name, element.line)
        origin = line if element.line > before else RowOrigin(name, number)
        before = element.line
        row = _row(element, line, origin)
        if isinstance(row, dict) and row.get("id") is None:
            row["id"] = Counted(number)
        yield origin, row


def _row(element: Element, line: Origin, origin: Origin) -> object:
    try:
        if element.data is None:
            raise too_large()
        return value_of(element.data)
    except Flawed as flaw:
        error = record_error(flaw, element.data or b"", origin if flaw.place is None else line, element.column)
    if error.finding == "broken_json":
        raise InputError(error.what, where=str(error.origin), fix="mend the file")
    return error


def elements(blocks: Iterable[bytes], name: str) -> Iterator[Element]:
    """The elements of a JSON list, without the white space around them."""
    scan = _Scan(name)
    for block in blocks:
        yield from scan.elements(block)
    scan.close()


class _Scan:
    """Where in the list the reader is, between blocks that may cut it anywhere."""

    def __init__(self, name: str) -> None:
        self.held, self.name = Held(name), name
        self.depth, self.in_string, self.escaped, self.ended = 0, False, False, False
        self.line = self.column = 1  # of the next byte
        self.start: tuple[int, int] | None = None  # line and column of the element, once it has begun
        self.any = False

    def elements(self, block: bytes) -> Iterator[Element]:
        """Each element that ends in this block; what is left is held."""
        taken = place = 0
        while not self.ended and (place := self._next(block, place)) < len(block):
            mark = block[place]
            place += 1
            if self.depth == 0 or (self.depth == 1 and mark in b",]"):
                if self.depth:
                    yield from self._element(block[taken : place - 1], mark)
                self._step(block[place - 1 : place] if self.depth else block[:place])
                taken = place
            # A stray `}` between elements belongs to one, which is then no JSON.
            self.depth += (mark in b"[{") - (mark in b"]}" and not (self.depth == 1 and mark in b"}"))
            self.ended = self.depth == 0
            if self.depth > 1:
                place = self._within(block, place)
        self._take(block[taken:])

    def close(self) -> None:
        """InputError if this is not the end of the list."""
        if self.ended:
            return
        if self.start:
            origin = Origin(self.name, self.start[0])
            _row(Element(self.held.take(), *self.start), origin, origin)
        raise self._error("the list has no end")

    def _next(self, block: bytes, place: int) -> int:
        """The next bracket outside of strings, or comma between elements; the block's end if it holds none."""
        while place < len(block):
            if self.escaped:
                place, self.escaped = place + 1, False
            if self.in_string:
                place = _end(IN_STRING, block, place)
                self.in_string = place == len(block) or block[place] != ord('"')
                self.escaped = self.in_string and place < len(block)
                place += 1
            if self.in_string or place >= len(block):
                break
            place = _end(TO_COMMA if self.depth == 1 else TO_BRACKET, block, place)
            if place == len(block) or block[place] != ord('"'):
                return place
            place, self.in_string = place + 1, True
        return len(block)

    def _within(self, block: bytes, place: int) -> int:
        """Behind the bracket that ends the element, or as far towards it as whole strings lead."""
        depth = self.depth
        for mark in MARK.finditer(block, place):
            place = mark.end()
            depth += STEP.get(mark[1], 0)
            if depth == 1 or not mark[1]:
                break
        self.depth = depth
        return place

    def _element(self, piece: bytes, mark: int) -> Iterator[Element]:
        self._take(piece)
        if self.start:
            data = self.held.take()
            yield Element(data and data.rstrip(SPACE), *self.start)
        elif mark in b"," or self.any:
            raise self._error(f"not JSON (column {self.column}): Expecting value")
        self.start, self.any = None, True

    def _take(self, piece: bytes) -> None:
        """Holds a piece of the element, from its first character on."""
        if self.start is None:
            body = piece.lstrip(SPACE)
            self._step(piece[: len(piece) - len(body)])
            piece = body
        if piece and self.ended:
            raise self._error(f"not JSON (column {self.column}): Extra data")
        if piece:
            self.start = self.start or (self.line, self.column)
            self._step(piece)
            self.held.add(piece)

    def _step(self, piece: bytes) -> None:
        if lines := piece.count(b"\n"):
            self.line += lines
            self.column = 1
        self.column += len(piece[piece.rfind(b"\n") + 1 :].translate(None, CONTINUATION))

    def _error(self, what: str) -> InputError:
        return InputError(what, where=f"{self.name}:{self.line}", fix="mend the file")


def _end(pattern: re.Pattern[bytes], block: bytes, place: int) -> int:
    match = pattern.match(block, place)
    assert match is not None  # each pattern also matches nothing
    return match.end()
