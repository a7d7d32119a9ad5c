"""What other labelling tools export -> groups: records of Argilla (2.x and FeedbackDataset), tasks of Label Studio."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice

from accord.collect import argilla_format, label_studio_format
from accord.collect.peers_answers import GUESSED, Fields
from accord.data.lines import Raw
from accord.data.read import read_groups
from accord.data.report import DataReport
from accord.data.sources import Source, rows
from accord.records import Group

Reader = Callable[[Iterable[Raw], Fields, DataReport], Iterator[Group]]


def imported_groups(
    source: Source,
    *,
    split: str = "train",
    on_bad_row: str = "error",
    implicit_prompt: bool = False,
    fields: Fields = GUESSED,
    report: DataReport | None = None,
) -> Iterator[Group]:
    """The groups of a source of any kind: of every format that training reads, or another tool's export.

    report: what was not taken is noted there. RecordError, InputError: as read_groups; a field that cannot be told.
    """
    report = DataReport() if report is None else report
    found = rows(source, split=split)
    start = list(islice(found, 1))
    read = reader_of(start[0][1]) if start else None
    if read is None:
        yield from read_groups(
            source, split=split, on_bad_row=on_bad_row, implicit_prompt=implicit_prompt, report=report
        )
        return
    yield from read(chain(start, found), fields, report)


def reader_of(row: object) -> Reader | None:
    """How rows like this one are read; None for what is no other tool's export."""
    if not isinstance(row, Mapping):
        return None
    if label_studio_format.is_one(row):
        return label_studio_format.groups
    return argilla_format.groups if argilla_format.is_one(row) else None
