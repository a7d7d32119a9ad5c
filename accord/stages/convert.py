"""`accord convert`: the same groups in the columns of another format, with a count of what these cannot hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from accord.data.clean import kind_of_name
from accord.data.formats import FORMATS, Format, to_rows
from accord.data.parts import CannotHold
from accord.data.plain_formats import Columns
from accord.data.read import read_groups
from accord.data.report import DataReport
from accord.data.sources import Source, check_not_read
from accord.data.write import RowWriter, row_writer
from accord.errors import InputError
from accord.records import Group
from accord.stages.config import ConvertConfig
from accord.stages.convert_options import ConvertOptions
from accord.stages.tables import show


class Times(NamedTuple):
    """How often something happened, and where first."""

    times: int
    first: str


@dataclass
class Converted:
    """What became of the rows. left_out: groups that the format cannot hold; lost: what it does not hold of others."""

    report: DataReport
    groups: int = 0
    rows: int = 0
    left_out: dict[str, Times] = field(default_factory=dict)
    lost: dict[str, Times] = field(default_factory=dict)

    def table(self) -> Iterator[dict[str, Any]]:
        """The rows of the table on the terminal."""
        yield {"what": "rows read", "count": self.report.read, "first": ""}
        for reason, dropped in self.report.dropped.items():
            yield {"what": f"bad rows dropped: {reason}", "count": len(dropped), "first": dropped[0].where}
        for text, note in self.report.notes.items():
            yield {"what": text, "count": note.count, "first": note.where}
        if self.report.ignored:
            what = f"columns not read: {', '.join(self.report.ignored)}"
            yield {"what": what, "count": len(self.report.ignored), "first": ""}
        yield {"what": "groups", "count": self.groups, "first": ""}
        for name, (times, first) in self.left_out.items():
            yield {"what": f"left out: {name}", "count": times, "first": first}
        for name, (times, first) in self.lost.items():
            yield {"what": f"not held: {name}", "count": times, "first": first}
        yield {"what": "rows written", "count": self.rows, "first": ""}


def run(config: ConvertConfig, given: dict[str, Any]) -> Converted:
    """Reads, writes and counts; BadRows, InputError as in reading. InputError: no group can be held."""
    options = config.convert
    source = cast(Source, given.get("data", options.data))
    check_not_read(source, options.output)
    done = Converted(DataReport())
    groups = read_groups(
        source,
        split=options.split,
        on_bad_row=options.on_bad_row,
        report=done.report,
        implicit_prompt=options.implicit_prompt,
    )
    with row_writer(options.output) as writer:
        for group in groups:
            _write(group, options, writer, done)
        if not done.rows:
            name, (times, first) = max(done.left_out.items(), key=lambda item: item[1].times)
            what = f"no group can be a row of {options.to}: {name} ({times} of {done.groups})"
            raise InputError(what, where=first, fix="choose another format")
    show(list(done.table()), title=f"{options.output}: {options.to}", where=config.table.json)
    return done


def _write(group: Group, options: ConvertOptions, writer: RowWriter, done: Converted) -> None:
    form = FORMATS[options.to]
    done.groups += 1
    try:
        rows, lost = to_rows(form, group)
        rows = _named(rows, form, group, options.output, done.rows)
        for row in rows:
            writer.check(row)
    except CannotHold as error:
        _count(done.left_out, str(error), group)
        return
    for row in rows:
        writer.add(row)
    done.rows += len(rows)
    for name in lost:
        _count(done.lost, name, group)


def _named(rows: list[Columns], form: Format, group: Group, output: str, before: int) -> list[Columns]:
    """Without an id where the row's number says the same; CSV counts lines, and helpsteer's ids part equal prompts."""
    implied = len(rows) == 1 and form.join == "id" and kind_of_name(output) != "csv"
    if implied and group.id == rows[0]["id"] == str(before + 1):
        return [{name: value for name, value in rows[0].items() if name != "id"}]
    return rows


def _count(counts: dict[str, Times], name: str, group: Group) -> None:
    times, first = counts.get(name, Times(0, str(group.source)))
    counts[name] = Times(times + 1, first)
