"""Files -> who said what: rows that compare two models, or groups with the judgements of several annotators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, combinations, islice
from typing import Any, cast

from accord.data.choose import standing
from accord.data.fields import Row, kind
from accord.data.findings import DROP
from accord.data.lines import Raw
from accord.data.opinions import LEVELS, SURE, Key, Opinions, Saying
from accord.data.read import read_groups
from accord.data.report import Refusals
from accord.data.same import digest_of, key_of
from accord.data.sources import Source, rows
from accord.data.verdict_formats import ANNOTATORS, PROMPTS, VERDICT_FORMATS, VerdictFormat, verdict_format
from accord.records import Group, Judgement, Origin, RecordError

# Wang et al. 2023 (Tulu); of a judge's probability p that the first is better the level is 4 p - 2.
DEGREES = {
    "a-is-better": 2.0,
    "a-is-slightly-better": 1.0,
    "tie": 0.0,
    "b-is-slightly-better": -1.0,
    "b-is-better": -2.0,
}
SIDES = ("_a", "_b")  # what columns end in that say yes or no of one of the two, as acceptable_a
WHO = "annotator_kind"  # a column: human or model
UNSAID = "groups of which nothing is said that raters could agree on, left out"
NO_VERDICT = "rows without a verdict, left out"
ONE_MODEL = "comparisons of a model with itself, left out"


def read_opinions(
    source: Source,
    opinions: Opinions,
    refusals: Refusals,
    *,
    split: str = "train",
    tell: Callable[[int], None] = lambda read: None,
) -> None:
    """Adds what a source says. tell: how many rows were read, after each.

    BadRows, InputError as in reading groups. RecordError goes to `refusals`.
    """
    if not isinstance(source, str | bytes) and not hasattr(source, "__fspath__"):
        source = list(cast(Iterable[Mapping[str, Any]], source))
    found = rows(source, split=split)
    start = list(islice(found, 1))
    if start and isinstance(start[0][1], Mapping) and verdict_format(start[0][1]) is not None:
        _Rows(opinions, refusals).take(chain(start, found), tell)
    else:
        judged = _Groups(opinions, refusals)
        for group in read_groups(source, split=split, report=refusals.report, refusals=refusals):
            judged.add(group)
            tell(refusals.report.read)
    refusals.close()


class _Rows:
    """Rows that compare two models. The first row of a file says by which columns."""

    def __init__(self, opinions: Opinions, refusals: Refusals) -> None:
        self.opinions, self.refusals = opinions, refusals
        self.file = ""
        self.form: VerdictFormat | None = None
        self.prompt: str | None = None
        self.annotator: str | None = None

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
        if not isinstance(columns, Mapping):
            fault = RecordError(f"expected an object, got {kind(columns)}", origin=origin, fix=DROP)
            raise columns if isinstance(columns, RecordError) else fault
        row = Row(columns, origin)
        if origin.file != self.file:
            self.file, self.form = origin.file, verdict_format(columns)
            names = ([name for name in wanted if name in columns] for wanted in (PROMPTS, ANNOTATORS))
            self.prompt, self.annotator = (found[0] if found else None for found in names)
        if self.form is None:
            known = "; ".join(" + ".join(one.needs) for one in VERDICT_FORMATS.values())
            raise row.error("", "no known columns of a comparison of models", f"one of: {known} (docs/leaderboard.md)")
        for name in self.form.needs:
            row.needed(name)
        self._count(self.form, row)

    def _count(self, form: VerdictFormat, row: Row) -> None:
        models = [row.as_word(name, row.columns[name]) for name in form.models]
        outcome = form.outcome(row)
        if None in models:
            raise row.error(form.models[models.index(None)], "no model is named")
        if outcome is None or models[0] == models[1]:
            self.refusals.report.note(NO_VERDICT if outcome is None else ONE_MODEL, where=str(row.origin))
            return
        self._position(form, row, outcome)
        prompt = self._asked(row)
        said = list(_of_two(row, form, prompt, cast(list[str], models), outcome))
        self.opinions.add(self._rater(row), said)

    def _position(self, form: VerdictFormat, row: Row, outcome: float) -> None:
        first = form.shown_first(row)
        if first != 0:
            self.opinions.shown.append(outcome if first == 1 else 1 - outcome)

    def _asked(self, row: Row) -> Key:
        """What the row is about, whoever answered: the prompt, and the turn of a conversation."""
        value = None if self.prompt is None else row.columns.get(self.prompt)
        if value is None:
            self.opinions.alone += 1
            return (row.origin.file, row.origin.line)
        turn = row.columns.get("turn")
        return (key_of(value),) if turn is None else (key_of(value), str(turn))

    def _rater(self, row: Row) -> int:
        """MT-bench names a judge by a list, the model and its prompt; people by a name."""
        name = None if self.annotator is None else row.columns.get(self.annotator)
        machine = isinstance(name, list)
        said = row.columns.get(WHO)
        if said not in (None, "human", "model"):
            raise row.error(WHO, f"{said!r} is no kind of annotator", "human or model")
        named = " ".join(map(str, name)) if isinstance(name, list) else row.as_word(str(self.annotator), name)
        return self.opinions.rater(named, machine=said == "model" or (machine and said is None))


def _of_two(row: Row, form: VerdictFormat, prompt: Key, models: Sequence[str], outcome: float) -> Iterator[Saying]:
    """All that one row says: who is better, by how much, and yes or no of either."""
    turned = models[0] > models[1]
    pair = (*prompt, *sorted(models))
    way = -1.0 if turned else 1.0
    yield Saying("verdicts", "order", pair, prompt, way * ((outcome > 0.5) - (outcome < 0.5)))
    if form is VERDICT_FORMATS["levels"]:
        yield Saying(LEVELS, "number", pair, prompt, way * DEGREES[str(row.columns["preference"])])
    elif form is VERDICT_FORMATS["preference"]:  # also where a judge is quite sure, or the sure ones would be missing
        yield Saying(LEVELS, "number", pair, prompt, way * SURE * (2 * outcome - 1))
    for name, value in row.columns.items():
        if isinstance(value, bool) and name.endswith(SIDES) and name not in form.needs:
            side = models[SIDES.index(name[-2:])]
            yield Saying(name[:-2], "name", (*pair, side), prompt, "yes" if value else "no")


class _Groups:
    """Groups: what every judgement says of the completions, and of each two of them."""

    def __init__(self, opinions: Opinions, refusals: Refusals) -> None:
        self.opinions, self.refusals = opinions, refusals
        self.texts: dict[Key, str] = {}  # (prompt, model) -> what it answered

    def add(self, group: Group) -> None:
        prompt = (key_of(group.prompt),)
        names = self._names(group, prompt[0])
        for judgement in group.judgements:
            said = list(_sayings(prompt, names, judgement))
            self.opinions.shown.extend(_of_those_shown_first(names, judgement))
            if said:
                self.opinions.add(self.opinions.rater(judgement.annotator), said)
            else:
                self.refusals.report.note(UNSAID, where=str(group.source))

    def _names(self, group: Group, prompt: object) -> list[str]:
        """(K,) what tells the completions of a prompt apart in any file: the model's name, else the text.

        A model that answered a prompt in two ways is told apart by the texts, too.
        """
        models = [one.model for one in group.completions]
        several = len(set(models)) < len(models)
        found = []
        for one in group.completions:
            text = digest_of(one.content)
            if one.model is None or several:
                found.append(f"text {text}")
            elif self.texts.setdefault((prompt, one.model), text) == text:
                found.append(one.model)
            else:
                found.append(f"{one.model} {text}")
        return found


def _sayings(prompt: Key, names: Sequence[str], judgement: Judgement) -> Iterator[Saying]:
    """names: (K,) of the completions. Answers about one completion, about two, about all of them."""
    yield from _of_each(prompt, names, judgement)
    goodness = standing(judgement)
    if goodness is None or len(goodness) < 2:
        return
    order = sorted(goodness, key=names.__getitem__)
    if judgement.ranks is not None or judgement.ratings is not None:
        for i, j in combinations(order, 2):
            if names[i] != names[j]:
                sign = float((goodness[i] > goodness[j]) - (goodness[i] < goodness[j]))
                yield Saying("verdicts", "order", (*prompt, names[i], names[j]), prompt, sign)
                if judgement.margin is not None and len(names) == 2:
                    yield Saying("margins", "number", (*prompt, names[i], names[j]), prompt, sign * judgement.margin)
        if len(order) > 2:
            whole = (*prompt, *(names[place] for place in order))
            yield Saying("rankings", "ranking", whole, prompt, tuple(float(goodness[place]) for place in order))


def _of_those_shown_first(names: Sequence[str], judgement: Judgement) -> Iterator[float]:
    """Of every two whether the one that stood before the other won, 1/2 a tie; nothing where no order is known."""
    goodness, shown = standing(judgement), judgement.shown
    if goodness is None or shown is None:
        return
    order = sorted(goodness, key=shown.__getitem__)
    for i, j in combinations(order, 2):
        if names[i] != names[j]:
            yield ((goodness[i] > goodness[j]) - (goodness[i] < goodness[j]) + 1) / 2


def _of_each(prompt: Key, names: Sequence[str], judgement: Judgement) -> Iterator[Saying]:
    for place, name in enumerate(names):
        item = (*prompt, name)
        if judgement.ratings is not None:
            yield Saying("ratings", "number", item, prompt, float(judgement.ratings[place]))
        for aspect, numbers in judgement.aspects.items():
            yield Saying(f"rating {aspect}", "number", item, prompt, float(numbers[place]))
        if judgement.labels is not None:
            yield Saying("labels", "name", item, prompt, "yes" if judgement.labels[place] else "no")
        for flag, values in judgement.flags.items():
            if (value := values[place]) is not None:
                yield Saying(f"flag {flag}", "name", item, prompt, "yes" if value else "no")
        if judgement.classes is not None:
            said = judgement.classes[place]
            yield Saying("classes", "name", item, prompt, said if isinstance(said, str) else ", ".join(sorted(said)))
