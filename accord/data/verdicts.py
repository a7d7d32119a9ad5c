"""Files -> who was compared with whom: groups whose completions name their models, or rows that compare two models."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, combinations, islice
from typing import Any, NamedTuple, cast

from accord.data.choose import orders
from accord.data.fields import Row, kind
from accord.data.findings import DROP
from accord.data.lines import Raw
from accord.data.read import read_groups
from accord.data.report import Refusals
from accord.data.sources import Source, rows
from accord.data.style import difference, looks
from accord.data.tally import NOT_SAID, UNIQUE, Tally, Where, number_of
from accord.data.verdict_details import DetailColumns, Details, characters, detail_columns
from accord.data.verdict_formats import (
    ANNOTATORS,
    CATEGORIES,
    PROMPTS,
    VERDICT_FORMATS,
    VerdictFormat,
    verdict_format,
)
from accord.records import Group, Judgement, Origin, RecordError, Text

POSITION = "position"  # beside the looks of the texts: which of the two was shown first
NO_VERDICT = "rows without a verdict, left out"
ONE_MODEL = "comparisons of a model with itself, which say nothing of its strength, left out"
UNJUDGED = "groups without ranks or ratings, left out"


class Reading(NamedTuple):
    """How a source is read. style: LOOKS and POSITION. whole: rankings as such, not as all their pairs.

    details: with each comparison its Details in the place of style, also of a model with itself, and of those without a
    verdict, whose outcome is NaN. over: the column of their level.
    """

    split: str = "train"
    style: tuple[str, ...] = ()
    whole: bool = False
    details: bool = False
    over: str | None = None


def read_verdicts(
    source: Source, tally: Tally, refusals: Refusals, how: Reading, tell: Callable[[int], None] = lambda read: None
) -> None:
    """Adds what a source says to the tally. tell: how many rows were read, after each.

    BadRows, InputError as in reading groups. RecordError goes to `refusals`.
    """
    if not isinstance(source, str | bytes) and not hasattr(source, "__fspath__"):
        source = list(cast(Iterable[Mapping[str, Any]], source))
    found = rows(source, split=how.split)
    start = list(islice(found, 1))
    if start and isinstance(start[0][1], Mapping) and verdict_format(start[0][1]) is not None:
        _Votes(tally, refusals, how).take(chain(start, found), tell)
        refusals.close()
        return
    judged = _Judged(tally, refusals, how)
    for group in read_groups(source, split=how.split, report=refusals.report, refusals=refusals):
        try:
            judged.add(group)
        except RecordError as error:
            refusals.add(error, id=group.id)
        tell(refusals.report.read)
    refusals.close()


class _Votes:
    """Rows that compare two models. The first row of a file says by which columns."""

    def __init__(self, tally: Tally, refusals: Refusals, how: Reading) -> None:
        self.tally, self.refusals, self.how = tally, refusals, how
        self.file = ""
        self.form: VerdictFormat | None = None
        self.prompt: str | None = None
        self.annotator: str | None = None
        self.category: str | None = None
        self.details: DetailColumns | None = None

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
        if not isinstance(columns, dict | Mapping):
            fault = RecordError(f"expected an object, got {kind(columns)}", origin=origin, fix=DROP)
            raise columns if isinstance(columns, RecordError) else fault
        row = Row(columns, origin)
        if origin.file != self.file:
            self._begin(row)
        form = self.form
        if form is None:
            raise _lacking(form, row)
        try:
            self._count(form, row)
        except KeyError as error:
            raise _lacking(form, row) from error

    def _count(self, form: VerdictFormat, row: Row) -> None:
        """KeyError: one of the columns that the format needs is missing."""
        if self.how.whole:
            raise row.error(form.needs[-1], "a verdict between two, and no ranking", "use --rankings pairs")
        first, second = _name(row, form.models[0]), _name(row, form.models[1])
        outcome = form.outcome(row)
        if self.how.details:
            self._count_all(row, (first, second), outcome)
            return
        note = NO_VERDICT if outcome is None else ONE_MODEL if first == second else None
        if outcome is None or note is not None:
            self.refusals.report.note(str(note), where=str(row.origin))
            return
        self.tally.compare((first, second), outcome, self._where(row), self._style(form, row))

    def _count_all(self, row: Row, models: tuple[str, str], outcome: float | None) -> None:
        assert self.details is not None
        where, details = self._where(row), self.details.of(row)
        if outcome is None:  # what was not judged replaces no judgement
            self.tally.compare(models, math.nan, where._replace(item=UNIQUE), details)
            return
        if self.how.over is not None:
            where = where._replace(item=number_of((where.item, details.level)))
        self.tally.compare(models, outcome, where, details)

    def _begin(self, row: Row) -> None:
        self.file, self.form = row.origin.file, verdict_format(row.columns)
        self.tally.formats.update(name for name, form in VERDICT_FORMATS.items() if form is self.form)
        self.details = None if self.form is None else detail_columns(self.form, row, self.how.over)
        names = ([name for name in wanted if name in row.columns] for wanted in (PROMPTS, ANNOTATORS, CATEGORIES))
        self.prompt, self.annotator, self.category = (found[0] if found else None for found in names)

    def _where(self, row: Row) -> Where:
        tally, columns = self.tally, row.columns
        asked = None if self.prompt is None else columns.get(self.prompt)
        if asked is None:
            tally.alone += 1
            prompt = item = number_of((row.origin.file, row.origin.line))
        else:
            prompt = _prompt(asked)
            item = number_of((prompt, columns["turn"])) if "turn" in columns else prompt
        annotator = NOT_SAID if self.annotator is None else tally.annotators.of(_who(row, self.annotator))
        category = NOT_SAID if self.category is None else tally.categories.of(row.word(self.category))
        weight = row.weight("weight") if "weight" in columns else 1.0
        return Where(prompt, item, annotator, category, weight)

    def _style(self, form: VerdictFormat, row: Row) -> Sequence[float]:
        if not self.how.style:
            return ()
        wanted = [name for name in self.how.style if name != POSITION]
        found = _compared(_texts(form, row), wanted) if wanted else []
        if len(wanted) == len(self.how.style):
            return found
        shown = form.shown_first(row)
        if shown == 0:
            raise row.error("shown_first", "not said which of the two was shown first", "leave position out of --style")
        found.insert(self.how.style.index(POSITION), float(shown))
        return found


class _Judged:
    """Groups: every judgement's order of the models that wrote the completions."""

    def __init__(self, tally: Tally, refusals: Refusals, how: Reading) -> None:
        self.tally, self.report, self.how = tally, refusals.report, how

    def add(self, group: Group) -> None:
        """RecordError: a completion names no model, or the order of showing is asked for."""
        heard = orders(group)
        if not heard or len(group.completions) < 2:
            self.report.note(UNJUDGED, where=str(group.source))
            return
        models = [completion.model for completion in group.completions]
        if None in models:
            what = f"completion {models.index(None) + 1} of {len(models)} names no model"
            raise RecordError(what, origin=group.source, field="models", fix="add a column `models`, a name for each")
        if POSITION in self.how.style:
            fix = "leave position out of --style"
            raise RecordError("the place is a style of rows of two models only", origin=group.source, fix=fix)
        if self.how.over is not None:
            fix = "leave it out, or give rows of two models with that column"
            raise RecordError(f"groups have no column {self.how.over}", origin=group.source, field="over", fix=fix)
        if self.how.whole and len(set(models)) == 1:
            self.report.note(ONE_MODEL, where=str(group.source))
            return
        prompt = _prompt(group.prompt)
        for judgement, goodness in heard:
            where = self._where(group, judgement, prompt, len(heard))
            if self.how.details:
                self._pairs_with_details(group, cast(list[str], models), goodness, where)
            elif self.how.whole:
                ranks = [1 + sum(other > own for other in goodness.values()) for own in goodness.values()]
                self.tally.rank([str(models[place]) for place in goodness], ranks, where)
            else:
                self._pairs(group, cast(list[str], models), goodness, where)

    def _where(self, group: Group, judgement: Judgement, prompt: int, judgements: int) -> Where:
        annotator = self.tally.annotators.of(judgement.annotator)
        category = self.tally.categories.of(group.category)
        return Where(prompt, annotator=annotator, category=category, weight=group.weight / judgements)

    def _pairs(self, group: Group, models: Sequence[str], goodness: Mapping[int, float], where: Where) -> None:
        """All C(K,2) pairs share the judgement's weight; ties are pairs, too."""
        wanted = self.how.style
        seen = [looks(one.content, wanted) for one in group.completions] if wanted else [[]] * len(models)
        every = list(combinations(goodness, 2))
        part = where._replace(weight=where.weight / len(every))
        for i, j in every:
            if models[i] == models[j]:
                self.report.note(ONE_MODEL, where=str(group.source))
                continue
            outcome = 0.5 if goodness[i] == goodness[j] else float(goodness[i] > goodness[j])
            self.tally.compare((models[i], models[j]), outcome, part, difference(seen[i], seen[j]))

    def _pairs_with_details(
        self, group: Group, models: Sequence[str], goodness: Mapping[int, float], where: Where
    ) -> None:
        """Every pair of models has the weight of the judgement, which the pairs of their completions share."""
        lengths = [float(characters(one.content)) for one in group.completions]
        every = [(i, j) for i, j in combinations(goodness, 2) if models[i] != models[j]]
        if not every:
            self.report.note(ONE_MODEL, where=str(group.source))
        shared = Counter(frozenset((models[i], models[j])) for i, j in every)
        for i, j in every:
            outcome = 0.5 if goodness[i] == goodness[j] else float(goodness[i] > goodness[j])
            part = where._replace(weight=where.weight / shared[frozenset((models[i], models[j]))])
            self.tally.compare(
                (models[i], models[j]), outcome, part, Details(lengths[i], lengths[j], 0.0, math.nan, math.nan)
            )


def _prompt(value: object) -> int:
    """A number for a prompt: text, an id, or turns, as a row or a Group has them."""
    if isinstance(value, str | int):
        return number_of(value)
    if isinstance(value, tuple):
        value = [turn.plain() for turn in value]
    return number_of(json.dumps(value, sort_keys=True, default=str))


def _name(row: Row, column: str) -> str:
    """The name of a model. KeyError: there is no such column."""
    value = row.columns[column]
    if type(value) is str and value:
        return value
    if value is None:
        raise row.error(column, "no model is named")
    return str(row.as_word(column, value))


def _who(row: Row, name: str) -> str | None:
    """An annotator; MT-bench names a judge by a list: the model and its prompt."""
    value = row.columns.get(name)
    return " ".join(map(str, value)) if isinstance(value, list) else row.as_word(name, value)


def _compared(texts: tuple[Text, Text], wanted: Sequence[str]) -> list[float]:
    first, second = (looks(text, wanted) for text in texts)
    return difference(first, second)


def _texts(form: VerdictFormat, row: Row) -> tuple[Text, Text]:
    for pair in form.texts:
        if all(row.columns.get(name) is not None for name in pair):
            first, second = (_answer(row, name) for name in pair)
            return first, second
    first, second = form.texts[0]
    raise row.error(first, "missing: the style of a text is asked for", f"add columns {first} and {second}")


def _answer(row: Row, name: str) -> Text:
    """A text, or of a conversation what the model said in it."""
    value = row.text_or_turns(name, row.columns[name])
    return value if isinstance(value, str) else tuple(turn for turn in value if turn.role == "assistant")


def _lacking(form: VerdictFormat | None, row: Row) -> RecordError:
    if form is None:
        known = "; ".join(" + ".join(one.needs) for one in VERDICT_FORMATS.values())
        return row.error("", "no known columns of a comparison of models", f"one of: {known} (docs/leaderboard.md)")
    lacks = next(name for name in form.needs if name not in row.columns)
    return row.error(lacks, "missing, and the first row of the file has it")
