"""What is known of models' answers one by one: flags that people gave, and numbers that something else gave."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from accord.data.fields import Row
from accord.data.formats import Format, check_group, find_format, to_group
from accord.data.lines import Raw
from accord.data.model_outputs import are_outputs, output_of
from accord.data.report import Refusals
from accord.data.same import key_of
from accord.data.sources import Source, rows, source_name
from accord.data.tally import Names
from accord.data.verdict_formats import PROMPTS, number_of_cell
from accord.records import Completion, Group, Judgement, Origin, RecordError

WROTE = ("model", "generator")  # columns that name who wrote a row's one answer
ANSWERS = ("completion", "completions", "output", "messages", "text")  # columns with what it wrote
UNNAMED = "rows that name no model: they are of one that is called as the file"
UNSAID = "rows of which nothing is known that is asked for"
AS_SCORE = " (score)"  # behind the name of a number, where people gave a flag of that name


@dataclass
class Column:
    """N values of one property: of which model's answer, to which prompt. share: all are yes (1) or no (0)."""

    model: array[int] = field(default_factory=lambda: array("q"))
    prompt: array[int] = field(default_factory=lambda: array("q"))
    value: array[float] = field(default_factory=lambda: array("d"))
    share: bool = True


class Value(NamedTuple):
    """What is said of a model's answer. score: it was asked for as a number, and is no flag."""

    name: str
    model: str
    value: float | bool
    score: bool = False


class Properties:
    """Takes what is said of answers. groups: the answers themselves. texts: whether these are wanted."""

    def __init__(self, *, texts: bool = True) -> None:
        self.models, self.texts = Names(), texts
        self.groups: list[Group] = []
        self._said: dict[str, Column] = {}
        self._scores: dict[str, Column] = {}
        self._prompts: dict[object, int] = {}

    @property
    def columns(self) -> dict[str, Column]:
        """By name. A score is a column of its own also where it is called as a flag."""
        named = {f"{name}{AS_SCORE}" if name in self._said else name: one for name, one in self._scores.items()}
        return {**self._said, **named}

    @property
    def scored(self) -> list[str]:
        """The models of which something is known, as they came."""
        known = {number for column in self.columns.values() for number in set(column.model)}
        return [name for name, number in self.models.number.items() if number in known]

    def add(self, said: Value, prompt: object) -> None:
        """One value of one answer; several people may say one each."""
        column = (self._scores if said.score else self._said).setdefault(said.name, Column())
        column.model.append(self.models.of(said.model))
        column.prompt.append(self._prompts.setdefault(prompt, len(self._prompts)))
        column.value.append(float(said.value))
        column.share = column.share and isinstance(said.value, bool)

    def keep(self, group: Group) -> None:
        """An answer, or several, whose models are all named."""
        for one in group.completions:
            self.models.of(one.model)
        if self.texts:
            self.groups.append(group)


def read_properties(
    source: Source,
    into: Properties,
    refusals: Refusals,
    *,
    scores: Sequence[str] = (),
    split: str = "train",
    tell: Callable[[int], None] = lambda read: None,
) -> None:
    """Adds the flags of a source, and the numbers named in `scores`: columns, aspects, or `ratings`.

    BadRows, InputError: as reading groups. RecordError goes to `refusals`.
    """
    reading = _Reading(into, refusals, tuple(scores), Path(source_name(source)).name)
    reading.take(rows(source, split=split, report=refusals.report), tell)
    refusals.close()


class _Reading:
    """Row by row: several rows of one group are several people, and nothing has to bring them together."""

    def __init__(self, into: Properties, refusals: Refusals, scores: tuple[str, ...], name: str) -> None:
        self.into, self.refusals, self.scores, self.name = into, refusals, scores, name
        self.file, self.form = "", None

    form: Format | None

    def take(self, raws: Iterable[Raw], tell: Callable[[int], None]) -> None:
        report = self.refusals.report
        for origin, columns in raws:
            report.read += 1
            try:
                self._add(columns, origin)
            except RecordError as error:
                self.refusals.add(error, id=str(origin.line))
            tell(report.read)

    def _add(self, columns: object, origin: Origin) -> None:
        if isinstance(columns, RecordError):
            raise columns
        row = Row(columns if isinstance(columns, Mapping) else {}, origin)
        if isinstance(columns, Mapping) and self._is_table(columns):
            self._of_table(row)
            return
        group = self._group(columns, row)
        models = [self._model(one.model, row) for one in group.completions]
        named = tuple(replace(one, model=model) for one, model in zip(group.completions, models, strict=True))
        prompt = key_of(group.prompt)
        said = [value for one in group.judgements for value in _flags(one, models)]
        rated = [value for one in group.judgements for value in _ratings(one, models, self.scores)]
        # HelpSteer's columns are aspects already: what they say is not to count twice.
        numbers = self._numbers(row, models, besides={one.name for one in rated})
        said += [*rated, *numbers]
        for value in said:
            self.into.add(value, prompt)
        if named:
            self.into.keep(replace(group, completions=named))
        if not said and not named:
            self.refusals.report.note(UNSAID, where=str(origin))

    def _group(self, columns: object, row: Row) -> Group:
        if isinstance(columns, Group):
            return check_group(columns, row.origin)
        if not isinstance(columns, Mapping):
            raise row.error("", "expected an object")
        if are_outputs(columns):
            one = output_of(columns, row.origin)
            completion = Completion(one.text, one.model)
            return Group(one.id or str(row.origin.line), one.prompt, (completion,), source=row.origin)
        if row.origin.file != self.file:
            self.file, self.form = row.origin.file, None
        self.form = self.form or find_format(columns, row.origin)
        return to_group(self.form, columns, row.origin)

    def _is_table(self, columns: Mapping[str, Any]) -> bool:
        """Whether a row has numbers of a model's answer, and not the answer."""
        numbers = any(name in columns for name in self.scores) and any(name in columns for name in WROTE)
        return numbers and not any(name in columns for name in ANSWERS)

    def _of_table(self, row: Row) -> None:
        name = next((name for name in PROMPTS if row.columns.get(name) is not None), None)
        prompt = (row.origin.file, row.origin.line) if name is None else key_of(row.columns[name])
        for value in list(self._numbers(row, [self._model(None, row)])):
            self.into.add(value, prompt)

    def _model(self, named: str | None, row: Row) -> str:
        found = named or row.first(WROTE, row.as_word)
        if found is None:
            self.refusals.report.note(UNNAMED, where=str(row.origin))
        return found or self.name

    def _numbers(self, row: Row, models: Sequence[str], besides: Collection[str] = ()) -> Iterator[Value]:
        """Columns of numbers, or of yes and no: one for the one answer, or a list of one for each."""
        for name in (name for name in self.scores if name not in besides):
            value = row.columns.get(name)
            if value is None or (name == "ratings" and isinstance(value, list | tuple)):
                continue
            values = row.per_completion(name, len(models)) if isinstance(value, list | tuple) else [value]
            if values is None or len(values) != len(models):
                what = f"one number for {len(models)} answers"
                raise row.error(name, what, "give a list with a number for each, or a row for each answer")
            for i, (model, one) in enumerate(zip(models, values, strict=True)):
                if one is not None:
                    number = one if isinstance(one, bool) else number_of_cell(row, f"{name}[{i}]", one)
                    yield Value(name, model, number, score=True)


def _flags(judgement: Judgement, models: Sequence[str]) -> Iterator[Value]:
    for flag, values in judgement.flags.items():
        for model, value in zip(models, values, strict=True):
            if value is not None:
                yield Value(flag, model, bool(value))


def _ratings(judgement: Judgement, models: Sequence[str], scores: Sequence[str]) -> Iterator[Value]:
    """Its numbers that are asked for."""
    numbers = dict(judgement.aspects)
    if judgement.ratings is not None:
        numbers["ratings"] = judgement.ratings
    for name in (name for name in scores if name in numbers):
        for model, number in zip(models, numbers[name], strict=True):
            yield Value(name, model, float(number), score=True)
