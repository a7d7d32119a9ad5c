"""Data of any size as tokens, some thousand groups at a time; every row is checked once before the first of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from accord.data.dialogue import TokenGroup
from accord.data.length import check_fit, fit_groups
from accord.data.measures import characters
from accord.data.read import read_groups
from accord.data.report import DataReport, Refusals
from accord.data.sift import taken_of
from accord.data.sources import Source, source_name
from accord.errors import InputError
from accord.records import Group, RecordError
from accord.stages.intake import Preparation
from accord.stages.options import LengthOptions, ReadOptions
from accord.training.progress import Waiting

GROUPS = 4096  # of a window
CHARACTERS = 2**24  # of its texts; a longer text is a window by itself


class Survey(NamedTuple):
    """What a pass over all rows found: how many groups can be used, and how many of them were judged."""

    groups: int
    judged: int


class Window(NamedTuple):
    """Groups that follow each other in the data, as tokens and as they were read.

    before: groups that came before them, too long ones counted.
    """

    before: int
    tokens: list[TokenGroup]
    groups: list[Group]


class Windows:
    """The groups of a source, a window in memory at a time. It is read twice: first to check and to count all rows.

    Groups are neither compared with each other nor kept; of each the 16 bytes that tell its id stay.
    """

    def __init__(self, source: Source, split: str, preparation: Preparation, length: LengthOptions) -> None:
        self.source, self.split, self.preparation, self.length = _repeatable(source), split, preparation, length
        self.report = DataReport()

    def survey(self) -> Survey:
        """BadRows, InputError: as reading."""
        count = judged = 0
        with Waiting(source_name(self.source)) as waiting:
            for group in self._read(DataReport()):
                count += 1
                judged += bool(group.judgements)
                waiting.tell(count)
        return Survey(count, judged)

    def tokens(self, survey: Survey) -> Iterator[Window]:
        """Windows that are not empty, in the order of the data.

        BadRows: the template refuses a group. InputError: more are too long than may be, as soon as that is certain.
        """
        self.report = DataReport()
        dialogue, before, found = self.preparation.dialogue(self.report), 0, False
        for chunk in _chunks(self._read(self.report)):
            made = dialogue.stream(chunk, on_bad_row=self.options.on_bad_row)
            longest = self.options.max_length
            assert longest is not None
            fitted = fit_groups(made, dialogue, max_length=longest, on_long=self.length.on_long, max_dropped=1.0)
            texts, tokens = list[Group](), list[TokenGroup]()
            for group, one in fitted:
                texts.append(group)
                tokens.append(one)
            lengths = self.report.lengths
            if lengths is not None and lengths.groups:
                check_fit(self.report, max_dropped=self.length.max_dropped * survey.groups / lengths.groups)
            if tokens:
                found = True
                yield Window(before, tokens, texts)
            before += len(chunk)
        if not found:
            raise InputError(f"no usable row: {self.report.summary()}", where=source_name(self.source))

    @property
    def options(self) -> ReadOptions:
        return self.preparation.options

    def _read(self, report: DataReport) -> Iterator[Group]:
        refusals, intake = Refusals(self.options.on_bad_row, report), self.preparation.intake
        implicit = self.options.implicit_prompt
        for group in read_groups(self.source, split=self.split, implicit_prompt=implicit, refusals=refusals):
            try:
                yield taken_of(group, intake.take, intake.stage, report)
            except RecordError as error:
                refusals.add(error, id=group.id)


def _chunks(groups: Iterable[Group]) -> Iterator[list[Group]]:
    held, size = list[Group](), 0
    for group in groups:
        held.append(group)
        size += characters(group.prompt) + sum(characters(one.content) for one in group.completions)
        if len(held) == GROUPS or size >= CHARACTERS:
            yield held
            held, size = [], 0
    if held:
        yield held


def _repeatable(source: Source) -> Source:
    """What can be read a second time: what Python gives as a stream is kept as a list."""
    return list(source) if isinstance(source, Iterator) else source
