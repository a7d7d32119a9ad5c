"""Fields and answers of other labelling tools, whose exports do not say which field is the prompt, which are outputs,
and what a question asks: names tell it where they can, options where they cannot; what was not taken is said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from accord.data.lines import Raw
from accord.data.report import DataReport
from accord.errors import InputError
from accord.records import Completion, Group, Judgement, Message, Origin, RecordError, Text

PROMPTS = ("prompt", "instruction", "question", "input", "query", "messages", "context", "text")
OUTPUTS = re.compile("response|completion|answer|output|reply|generation|chosen|rejected|summary", re.IGNORECASE)
TIES = ("tie", "equal", "both", "same", "none", "neither", "draw")


class Fields(NamedTuple):
    """What is to be known of another tool's project. prompt, outputs: fields; none: told by their names. labels:
    questions whose answers are classes, and no remarks."""

    prompt: str | None = None
    outputs: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


GUESSED = Fields()


@dataclass
class Said:
    """What one annotator said of K outputs, gathered question by question. names: of the outputs."""

    names: Sequence[str]
    fields: Fields
    report: DataReport
    where: str
    ratings: dict[str, dict[int, float]] = field(default_factory=dict)
    ranks: tuple[int | None, ...] | None = None
    classes: list[str] = field(default_factory=list)
    notes: dict[int, list[str]] = field(default_factory=dict)
    written: str | None = None

    def rating(self, question: str, value: float, about: str = "") -> None:
        """about: what names the output, where the question does not."""
        place = self._place(about) if about else None
        place = self._place(question) if place is None else place
        if place is None:
            self._left(question, "a rating that is of no one output")
        else:
            self.ratings.setdefault(self._bare(question), {})[place] = value

    def order(self, question: str, ranked: Mapping[str, int]) -> None:
        """ranked: name of an output -> its rank; what is not named was kept out."""
        places = {self._place(name): rank for name, rank in ranked.items()}
        if None in places or len(places) < len(ranked):
            self._left(question, "a ranking of what are no outputs")
            return
        steps = sorted(set(places.values()))
        self.ranks = tuple(steps.index(places[i]) + 1 if i in places else None for i in range(len(self.names)))

    def choice(self, question: str, values: Sequence[str]) -> None:
        """Which output is better; else a class of the only one."""
        place = self._place(values[0]) if len(values) == 1 and len(self.names) > 1 else None
        if place is not None:
            self.ranks = tuple(1 if i == place else 2 for i in range(len(self.names)))
        elif len(self.names) > 1 and len(values) == 1 and values[0].casefold() in TIES:
            self.ranks = (1,) * len(self.names)
        elif question in self.fields.labels and len(self.names) == 1:
            self.classes += values
        else:
            self.text(question, ", ".join(values))

    def text(self, question: str, value: str) -> None:
        """The ideal answer, where there is no output; else a remark on the output that the question names, or on the
        first."""
        if not self.names:
            self.written = value
            return
        place = self._place(question) if len(self.names) > 1 else None
        self.notes.setdefault(place or 0, []).append(value if place is not None else f"{question}: {value}")
        self.report.note(f"answers to {question}: kept as notes", where=self.where)

    def judgement(self, annotator: str | None, *, seconds: float | None = None, settled: bool = False) -> Judgement:
        k = len(self.names)
        whole = {name: tuple(values[i] for i in range(k)) for name, values in self.ratings.items() if len(values) == k}
        for name in self.ratings.keys() - whole.keys():
            self._left(name, "ratings of some outputs only")
        first = next(iter(whole), None)
        classes = None
        if self.classes:
            classes = (self.classes[0] if len(self.classes) == 1 else tuple(self.classes),)
        notes = tuple("\n".join(self.notes.get(i, [])) for i in range(k)) if self.notes else None
        return Judgement(
            ranks=self.ranks,
            ratings=None if first is None else whole[first],
            aspects={name: values for name, values in whole.items() if name != first},
            classes=classes,
            notes=notes,
            annotator=annotator,
            seconds=seconds,
            written=self.written,
            settled=settled,
        )

    def names_one(self, name: str) -> bool:
        """Whether it is the name of an output."""
        return self._place(name) is not None

    def _place(self, name: str) -> int | None:
        """The output that a name means: its own name, in it, or by the number at its end; the only one."""
        own = [_folded(one) for one in self.names]
        wanted = _folded(name)
        if wanted in own:
            return own.index(wanted)
        within = [place for place, one in enumerate(own) if one in wanted]
        if len(within) == 1:
            return within[0]
        number = re.search(r"(\d+)\D*$", wanted)
        ends = [re.search(r"(\d+)\D*$", one) for one in own]
        if number and [one and one[1] for one in ends].count(number[1]) == 1:
            return [one and one[1] for one in ends].index(number[1])
        return 0 if len(own) == 1 else None

    def _bare(self, question: str) -> str:
        """The question without what names the output, so that `rating_1` and `rating_2` are one question."""
        bare = _folded(question)
        for name in self.names:
            bare = bare.replace(_folded(name), "")
        bare = re.sub(r"_?\d+$", "", bare) if len(self.names) > 1 else bare
        return re.sub("_+", "_", bare).strip("_") or "rating"

    def _left(self, question: str, what: str) -> None:
        self.report.ignore([f"{question} ({what})"])


def _folded(name: str) -> str:
    return re.sub(r"[\s.-]+", "_", name.casefold())


def asked(columns: Mapping[str, Any], fields: Fields, origin: Origin) -> tuple[Text, list[str]]:
    """The prompt, and the names of the outputs among these fields. RecordError: names do not tell them."""
    texts = [name for name, value in columns.items() if isinstance(value, str | list)]
    prompt = fields.prompt or next((name for name in PROMPTS if name in texts), None)
    outputs = list(fields.outputs) or [name for name in texts if OUTPUTS.search(name) and name != prompt]
    if prompt is None:
        others = [name for name in texts if name not in outputs]
        prompt = others[0] if len(others) == 1 else None
    for name in (*((prompt,) if prompt else ()), *outputs):
        if name not in columns:
            raise RecordError("missing", origin=origin, field=name, fix=f"there are: {', '.join(columns)}")
    if prompt is None:
        fix = f"name it (and the outputs); there are: {', '.join(columns)}"
        raise RecordError("which field is the prompt cannot be told", origin=origin, field="fields", fix=fix)
    return content(columns[prompt], origin, prompt), outputs


def content(value: object, origin: Origin, name: str) -> Text:
    """A text, or turns of a chat."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        turns = [(one.get("role"), one.get("content")) for one in value]
        if all(isinstance(role, str) and isinstance(text, str) for role, text in turns):
            return tuple(Message(str(role), str(text)) for role, text in turns)
    raise RecordError("no text and no chat", origin=origin, field=name, fix="name other fields")


def group_of(
    id: str, columns: Mapping[str, Any], prompt: Text, outputs: Sequence[str], said: Iterable[Judgement], origin: Origin
) -> Group:
    """The outputs as the prompt is: turns where that is turns."""
    made = []
    for name in outputs:
        text = content(columns[name], origin, name)
        if isinstance(text, str) and not isinstance(prompt, str):
            text = (Message("assistant", text),)
        made.append(Completion(text))
    return Group(id, prompt, tuple(made), tuple(one for one in said if _says(one)), source=origin)


def _says(judgement: Judgement) -> bool:
    return bool(replace(judgement, annotator=None, seconds=None, settled=False).said)


def mapping(raw: Raw) -> tuple[Origin, Mapping[str, Any]]:
    """A row that is an object. RecordError, InputError: it is none."""
    origin, row = raw
    if isinstance(row, RecordError):
        raise row
    if not isinstance(row, Mapping):
        raise InputError("no object", where=str(origin), fix="export it again")
    return origin, row
