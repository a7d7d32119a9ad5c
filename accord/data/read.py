"""Files, Hugging Face data sets and Python lists -> groups. A bad row is named with its file, line and field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from accord.data.fields import kind
from accord.data.findings import DROP
from accord.data.formats import Format, check_group, find_format, ignored, to_group
from accord.data.ids import Ids
from accord.data.join import MOST, given_id, join, shared
from accord.data.lines import Raw
from accord.data.report import DataReport, Refusals
from accord.data.sources import Source, rows, source_name
from accord.errors import InputError
from accord.records import Group, Origin, RecordError

JOINED = "groups made of several rows that follow each other"


def read_groups(
    source: Source,
    *,
    split: str = "train",
    on_bad_row: str = "error",
    report: DataReport | None = None,
    refusals: Refusals | None = None,
    implicit_prompt: bool = False,
) -> Iterator[Group]:
    """The groups of a file, a folder, a glob, a Hugging Face data set (its `split`), or a list.

    on_bad_row "error": after the tenth bad row, or at the end, BadRows (a RecordError) lists them. "drop": bad rows are
    left out and counted in `report`. refusals: where bad rows go instead, if others add theirs while the groups are
    read; all are raised together at the end. implicit_prompt: chosen and rejected may be whole conversations.
    InputError: no such source, not readable, or no row that is left.
    """
    report = refusals.report if refusals else DataReport() if report is None else report
    refusals = refusals or Refusals(on_bad_row, report)
    yield from _Groups(refusals, report, implicit_prompt).of(rows(source, split=split, report=report))
    refusals.close()
    if not report.kept:
        raise InputError(f"no usable row: {report.summary()}" if report.read else "no rows", where=source_name(source))


class _Groups:
    """Rows -> groups. The first row that can be told decides the format of its file."""

    def __init__(self, refusals: Refusals, report: DataReport, implicit_prompt: bool) -> None:
        self.refusals, self.report, self.implicit_prompt = refusals, report, implicit_prompt
        self.form: Format | None = None
        self.file = ""
        self.known: set[str] = set()
        self.ids = Ids()

    def of(self, raws: Iterable[Raw]) -> Iterator[Group]:
        held: list[Group] = []  # the last rows, as far as they may be one group
        held_given, held_key = False, None
        for origin, row in raws:
            self.report.read += 1
            try:
                group, given, key = self._group(row, origin)
            except RecordError as error:
                name = row.get("id") if isinstance(row, Mapping) else None
                self.refusals.add(error, id=str(name or origin.line))
                continue
            if held and (key is None or key != held_key or len(held) == MOST):
                yield from self._joined(held, held_given)
                held = []
            held.append(group)
            held_given, held_key = given is not None, key
        yield from self._joined(held, held_given)

    def _group(self, row: object, origin: Origin) -> tuple[Group, object, object]:
        """(the group of this row, the id that it gives, what it shares with rows of the same group)"""
        if origin.file != self.file:
            self.file, self.form = origin.file, None
        if isinstance(row, Mapping):
            form = self.form = self.form or find_format(row, origin, implicit_prompt=self.implicit_prompt)
            if form.unread is not None or not self.known.issuperset(row):
                self.report.ignore(ignored(form, row))
                self.known.update(row)
            group, given = to_group(form, row, origin), given_id(row)
            return group, given, shared(form.join, given, group)
        if isinstance(row, RecordError):
            raise row
        if isinstance(row, Group):
            return check_group(row, origin), row.id or None, None
        raise RecordError(f"expected an object, got {kind(row)}", origin=origin, fix=DROP)

    def _joined(self, held: list[Group], given: bool) -> Iterator[Group]:
        """The one group of these rows, or each by itself where they do not fit together; each id once."""
        whole = join(held, named=given) if len(held) > 1 else None
        if whole is not None:
            self.report.joined += len(held) - 1
            self.report.note(JOINED, where=str(whole.source))
            kept = {name for judgement in whole.judgements for name in judgement.aspects}
            said = [name for one in held for judgement in one.judgements for name in judgement.aspects]
            self.report.ignore(f"{name} (not in every row of a group)" for name in said if name not in kept)
        for group in held if whole is None else [whole]:
            try:
                self.ids.add(group, given=given)
            except RecordError as error:
                self.refusals.add(error, id=group.id)
                continue
            yield group
