"""Whether an id is another group's, in some tens of bytes for each."""

from __future__ import annotations

from array import array

from accord.data.report import Particular
from accord.records import Group, Origin

FIRST_SIZE = 2**10  # places of the table, a power of two
WHOLE = 2**64 - 1
LINES = 40  # bits for a row's number; those above it tell the file


class Ids:
    """Each id once in all of a source.

    An id is known by 64 bits of its hash, which differs from process to process: that two ids of ten million share
    them happens once in 400,000 runs. Ids that only count rows are kept as stretches of numbers.
    """

    def __init__(self) -> None:
        self._keys, self._rows, self._count = _zeros(FIRST_SIZE), _zeros(FIRST_SIZE), 0
        self._files: list[Origin] = []  # one row of each
        self._counted: list[list[int]] = []  # first and last number of a stretch of rows that have no id

    def add(self, group: Group, *, given: bool) -> None:
        """RecordError if the id is another group's. given: whether a column gave it."""
        key = hash(group.id) & WHOLE or 1
        place = self._place(key)
        first = self._origin(self._rows[place]) if self._keys[place] else None
        if first is None and given:
            first = self._row(group)
            self._keep(place, key, group.source)
        elif first is None:
            self._count_row(group.id)
        if first is not None:
            what, fix = f"{group.id!r} is already the id of {first}", "give each row an id of its own, or none"
            raise Particular("duplicate", what, origin=group.source, field="id", fix=fix, finding="duplicate_id")

    def _place(self, key: int) -> int:
        """Where the key stands, or the free place where it would."""
        keys, mask = self._keys, len(self._keys) - 1
        place = key & mask
        while keys[place] not in (0, key):
            place = (place + 1) & mask
        return place

    def _keep(self, place: int, key: int, origin: Origin) -> None:
        if not self._files or self._files[-1].file != origin.file:
            self._files.append(origin)
        self._keys[place], self._rows[place] = key, (len(self._files) - 1) << LINES | origin.line
        self._count += 1
        if 3 * self._count > 2 * len(self._keys):
            self._grow()

    def _grow(self) -> None:
        keys, rows = self._keys, self._rows
        self._keys, self._rows = _zeros(2 * len(keys)), _zeros(2 * len(keys))
        for key, row in zip(keys, rows, strict=True):
            if key:
                place = self._place(key)
                self._keys[place], self._rows[place] = key, row

    def _origin(self, row: int) -> Origin:
        return self._files[row >> LINES]._replace(line=row & (2**LINES - 1))

    def _count_row(self, id: str) -> None:
        if not id.isdecimal():
            return
        number = int(id)
        if self._counted and self._counted[-1][1] + 1 == number:
            self._counted[-1][1] = number
        else:
            self._counted.append([number, number])

    def _row(self, group: Group) -> Origin | None:
        """The row without an id that is known by this one, as its number is."""
        if not group.id.isdecimal() or len(group.id) > 18:
            return None
        number = int(group.id)
        if any(first <= number <= last for first, last in self._counted):
            return group.source._replace(line=number)
        return None


def _zeros(size: int) -> array[int]:
    return array("Q", bytes(8 * size))
