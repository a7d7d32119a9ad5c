"""Benchmarks of reward models: rows in RewardBench's columns, RewardBench 2's, or of any comparison -> items.

RewardBench: `prompt`, `chosen`, `rejected`, `subset`, `id`. RewardBench 2: `chosen`, `rejected` are lists of answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from accord.data.choose import orders
from accord.data.fields import Row, kind
from accord.data.findings import DROP
from accord.data.formats import FORMATS, Format, find_format, ignored, to_group
from accord.data.report import DataReport, Refusals
from accord.data.sources import Source, rows, source_name
from accord.errors import InputError
from accord.records import Group, Judgement, Message, Origin, RecordError

SIDES = ("chosen", "rejected")
READ = ("prompt", *SIDES, "tools", "category")


class Item(NamedTuple):
    """One row: a prompt with its right completions and then its wrong ones.

    group: its id is the item's place in the benchmark, its category the subset. id: as the row says, or its line.
    best_of: of RewardBench 2's form, or with more than two completions.
    """

    group: Group
    id: str
    subset: str | None
    right: int
    best_of: bool


def bench_items(
    source: Source,
    *,
    turns: bool | None = None,
    split: str = "train",
    on_bad_row: str = "error",
    implicit_prompt: bool = False,
    report: DataReport | None = None,
) -> list[Item]:
    """The items of a benchmark, in the order of the file. Bad rows and errors as in read_groups.

    turns: a prompt and answers of plain text are a user's turn and an assistant's; None: in rows with a subset, as
    RewardBench means its own.
    """
    report = DataReport() if report is None else report
    refusals, reader = Refusals(on_bad_row, report), _Reader(turns, implicit_prompt, report)
    items: list[Item] = []
    for origin, row in rows(source, split=split, report=report):
        report.read += 1
        try:
            items.append(reader.item(row, origin, len(items)))
        except RecordError as error:
            refusals.add(error, id=str(origin.line))
    refusals.close()
    if not items:
        raise InputError(f"no usable row: {report.summary()}" if report.read else "no rows", where=source_name(source))
    return items


class _Reader:
    """Rows -> items. Of rows in other columns than the benchmarks' the first of a file decides the format."""

    def __init__(self, turns: bool | None, implicit_prompt: bool, report: DataReport) -> None:
        self.turns, self.implicit_prompt, self.report = turns, implicit_prompt, report
        self.form: Format | None = None
        self.file = ""
        self.known: set[str] = set()

    def item(self, row: object, origin: Origin, place: int) -> Item:
        if isinstance(row, RecordError):
            raise row
        if isinstance(row, Group):
            return _judged(row, place, row.category, row.id, bool(self.turns))
        if not isinstance(row, Mapping):
            raise RecordError(f"expected an object, got {kind(row)}", origin=origin, fix=DROP)
        read = Row(row, origin)
        subset, name = read.word("subset"), read.word("id") or str(origin.line)
        turns = subset is not None if self.turns is None else self.turns
        if all(side in row for side in ("prompt", *SIDES)):
            self._ignore([column for column in row if column not in (*READ, "subset", "id")])
            columns = {column: value for column, value in row.items() if column in READ}
            return _benchmark(columns, origin, place, subset or read.word("category"), name, turns)
        if origin.file != self.file:
            self.file, self.form = origin.file, None
        form = self.form = self.form or find_format(row, origin, implicit_prompt=self.implicit_prompt)
        self._ignore([column for column in ignored(form, row) if column != "subset"])
        group = to_group(form, {column: value for column, value in row.items() if column != "id"}, origin)
        return _judged(group, place, subset or group.category, name, turns)

    def _ignore(self, columns: list[str]) -> None:
        if not self.known.issuperset(columns):
            self.report.ignore(columns)
            self.known.update(columns)


def _benchmark(
    columns: Mapping[str, Any], origin: Origin, place: int, subset: str | None, name: str, turns: bool
) -> Item:
    """A row with prompt, chosen and rejected; each of the two one answer, or a list of answers."""
    best_of = any(_answers(columns[side]) for side in SIDES)
    if not best_of:
        form = FORMATS["comparison"]
        texts = {column: _turns(columns, column, turns) for column in ("prompt", *SIDES)}
        group = to_group(form, {**columns, **texts}, origin)
        return Item(replace(group, id=str(place), category=subset), name, subset, 1, False)
    row = Row(columns, origin)
    lists = {side: _answer_list(row, side) for side in SIDES}
    right = len(lists["chosen"])
    answers = {
        "prompt": _turns(columns, "prompt", turns),
        "completions": [_turns({**columns, "chosen": one}, "chosen", turns) for side in SIDES for one in lists[side]],
        "ranks": [1] * right + [2] * len(lists["rejected"]),
    }
    rest = {column: value for column, value in columns.items() if column not in ("prompt", *SIDES)}
    group = to_group(FORMATS["ranking"], {**rest, **answers}, origin)
    return Item(replace(group, id=str(place), category=subset), name, subset, right, True)


def _answers(value: object) -> bool:
    """Whether it is a list of answers, and not the turns of one."""
    return isinstance(value, list | tuple) and not any(isinstance(one, Mapping) for one in value)


def _answer_list(row: Row, side: str) -> list[str]:
    values = row.needed(side)
    if not _answers(values):
        raise row.error(side, f"expected a list of answers like the other side, got {kind(values)}")
    if not values:
        raise row.error(side, "an empty list of answers")
    return [row.as_text(f"{side}[{i}]", value) for i, value in enumerate(values)]


def _turns(columns: Mapping[str, Any], name: str, turns: bool) -> Any:
    """The text of a column as the turn that it is, where texts are turns, or where the prompt is turns already."""
    value, prompt = columns[name], columns["prompt"]
    wanted = isinstance(prompt, list | tuple) or (turns and isinstance(prompt, str))
    if not wanted or not isinstance(value, str):
        return value
    return [{"role": "user" if name == "prompt" else "assistant", "content": value}]


def _as_turns(group: Group) -> Group:
    """Of plain text the same as a user's turn and assistant's turns."""
    if not isinstance(group.prompt, str):
        return group
    replies = (replace(one, content=(Message("assistant", str(one.content)),)) for one in group.completions)
    return replace(group, prompt=(Message("user", group.prompt),), completions=tuple(replies))


def _judged(group: Group, place: int, subset: str | None, name: str, turns: bool) -> Item:
    """A group of another form: what its one judgement puts first is right, everything else is wrong."""
    heard = orders(group)
    if len(heard) != 1 or len(set(heard[0][1].values())) < 2:
        what = f"{len(heard)} judgements order the completions" if len(heard) > 1 else "no completion is preferred"
        fix = "a benchmark has one judgement a row: chosen and rejected, or ranks"
        raise RecordError(what, origin=group.source, fix=fix, finding="not_judged")
    order = heard[0][1]
    best = [place for place, value in order.items() if value == max(order.values())]
    others = [place for place in order if place not in best]
    group = _as_turns(group) if turns else group
    made = replace(
        group,
        id=str(place),
        completions=tuple(group.completions[one] for one in (*best, *others)),
        judgements=(Judgement(ranks=(1,) * len(best) + (2,) * len(others)),),
        category=subset,
    )
    return Item(made, name, subset, len(best), len(order) > 2)
