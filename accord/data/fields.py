"""The fields of one row, typed: each reading returns the value or raises a RecordError that names the field."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from accord.data.findings import DROP
from accord.data.strict_json import Flawed, value_of
from accord.records import ROLES, Completion, Group, Judgement, Message, Origin, RecordError, Text, Turns

LARGEST = 3.4028234e38  # of 32 bits, in which losses are computed
SHOWN = 20  # characters of a text that an error repeats
HEAVIEST = 1e30  # weight, and the lightest is 1 over it: sums and squares of them stay within float32 and float64
T = TypeVar("T")
KNOWN_ROLES = {role: role for role in ROLES}


class Counted(str):
    """An id that only counts rows: it is the reader's, and no column gave it."""

    __slots__ = ()


def kind(value: object) -> str:
    """The name of a value's type as a reader of JSON knows it."""
    if value is None:
        return "null"
    names = {bool: "true or false", str: "text", int: "a number", float: "a number", list: "a list", tuple: "a list"}
    return names.get(type(value), "an object" if isinstance(value, Mapping) else type(value).__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its columns, and where it stands. A column that is null counts as absent where it is optional.

    Texts may be empty here: what that means depends on the stage (accord.data.check).
    """

    columns: Mapping[str, Any]
    origin: Origin

    def error(self, field: str, what: str, fix: str = DROP, finding: str = "malformed") -> RecordError:
        return RecordError(what, origin=self.origin, field=field, fix=fix, finding=finding)

    def needed(self, name: str) -> Any:
        if name not in self.columns:
            raise self.error(name, "missing")
        return self.columns[name]

    def within(self, field: str, value: Mapping[str, Any]) -> Row:
        """The entries of an object as columns that are named `field.entry`."""
        return Row({f"{field}.{name}": item for name, item in value.items()}, self.origin)

    def given(self, names: Iterable[str]) -> str | None:
        """The first of several names of one column that is there."""
        return next((name for name in names if self.columns.get(name) is not None), None)

    def first(self, names: Iterable[str], read: Callable[[str, object], T]) -> T | None:
        """The value of a column that has several names."""
        name = self.given(names)
        return None if name is None else read(name, self.columns[name])

    def text(self, name: str) -> str:
        return self.as_text(name, self.needed(name))

    def as_text(self, field: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.error(field, f"expected text, got {kind(value)}")
        return value

    def json(self, field: str, text: str) -> Any:
        """What a text of JSON says, read as strictly as a line."""
        try:
            return value_of(text.encode(errors="surrogatepass"))
        except Flawed as flaw:
            within = flaw.field and f"{'' if flaw.field[0] == '[' else '.'}{flaw.field}"
            what = flaw.what if flaw.place is None else f"not JSON (column {flaw.place + 1}): {flaw.what}"
            raise self.error(field + within, what, finding=flaw.finding) from None

    def objects(self, name: str) -> list[tuple[str, Mapping[str, Any]]]:
        """(field, object) for each entry of a list of objects."""
        values = self.needed(name)
        if not isinstance(values, list | tuple):
            raise self.error(name, f"expected a list of objects, got {kind(values)}")
        return [(f"{name}[{i}]", self.as_object(f"{name}[{i}]", value)) for i, value in enumerate(values)]

    def as_object(self, field: str, value: object) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self.error(field, f"expected an object, got {kind(value)}")
        return value

    def content(self, name: str, *, like: Text | None = None) -> Text:
        """Text or turns; with `like`, of the same kind as that."""
        return self.text_or_turns(name, self.needed(name), like=like)

    def reply(self, name: str, *, like: Text) -> Text:
        return self.as_reply(name, self.content(name, like=like))

    def replies(self, name: str, *, like: Text) -> tuple[Text, ...]:
        """A list of completions, each text or turns like the prompt."""
        values = self.needed(name)
        if not isinstance(values, list | tuple):
            raise self.error(name, f"expected a list, got {kind(values)}")
        fields = [(f"{name}[{i}]", value) for i, value in enumerate(values)]
        return tuple(self.as_reply(field, self.text_or_turns(field, value, like=like)) for field, value in fields)

    def text_or_turns(self, field: str, value: object, *, like: Text | None = None) -> Text:
        wanted = str if like is None or isinstance(like, str) else list
        is_list = isinstance(value, list | tuple)
        if is_list and (like is None or wanted is list):
            return self.turns(field, value)
        if isinstance(value, str) and wanted is str:
            return value
        expected = "text" if wanted is str else "a list of messages"
        mixed = like is not None and (is_list or isinstance(value, str))
        what = f"expected {expected}" + (" like the prompt" if mixed else "") + f", got {kind(value)}"
        raise self.error(field, what, "give both as text or both as messages" if mixed else DROP)

    def turns(self, field: str, value: object) -> Turns:
        if not isinstance(value, list | tuple):
            raise self.error(field, f"expected a list of messages, got {kind(value)}")
        if not value:
            raise self.error(field, "empty list of messages")
        if (turns := _plain_turns(value)) is not None:
            return turns
        return tuple(self.message(f"{field}[{i}]", message) for i, message in enumerate(value))

    def message(self, field: str, value: Any) -> Message:
        """One turn: a known role, a content, and whatever else the template may read."""
        if isinstance(value, Message):
            value = value.plain()
        if not isinstance(value, Mapping):
            raise self.error(field, f"expected a message (an object with role and content), got {kind(value)}")
        role, content = value.get("role"), value.get("content")
        if role not in ROLES:
            what = f"unknown role {role!r}" if isinstance(role, str) else f"expected text, got {kind(role)}"
            raise self.error(f"{field}.role", what, "one of " + ", ".join(ROLES))
        extra = {key: item for key, item in value.items() if key not in ("role", "content") and item is not None}
        if content is None and extra.get("tool_calls"):
            content = ""
        if not isinstance(content, str):
            raise self.error(f"{field}.content", f"expected text, got {kind(content)}")
        return Message(KNOWN_ROLES[role], content, extra)

    def as_reply(self, field: str, content: Text) -> Text:
        """A completion of turns starts and ends with the assistant: what comes before belongs to the prompt."""
        if isinstance(content, tuple):
            if content[0].role != "assistant":
                raise self.error(field, f"starts with a {content[0].role} turn", "move that turn to the prompt")
            if content[-1].role != "assistant":
                raise self.error(field, f"ends with a {content[-1].role} turn", "end it with an assistant turn")
        return content

    def number(self, name: str) -> float | None:
        value = self.columns.get(name)
        return None if value is None else self.finite(name, value)

    def finite(self, field: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            shown = f" {value!r}" if isinstance(value, str) and len(value) <= SHOWN else ""
            raise self.error(field, f"expected a number, got {kind(value)}{shown}")
        if isinstance(value, float) and not math.isfinite(value):
            raise self.error(field, f"{value} is not a finite number", finding="not_finite")
        if abs(value) > LARGEST:
            raise self.error(
                field, f"a number beyond {LARGEST:.1e}, which is not finite in 32 bits", finding="not_finite"
            )
        return float(value)

    def numbers(self, name: str, length: int) -> tuple[float, ...] | None:
        values = self.per_completion(name, length)
        return values and tuple(self.finite(f"{name}[{i}]", value) for i, value in enumerate(values))

    def ranks(self, name: str, length: int) -> tuple[int | None, ...] | None:
        """Whole numbers from 1 (best); equal ones are ties, null was kept out."""
        values = self.per_completion(name, length)
        return None if values is None else tuple(self._rank(f"{name}[{i}]", value) for i, value in enumerate(values))

    def _rank(self, field: str, value: object) -> int | None:
        rank = None if value is None else self.finite(field, value)
        if rank is not None and (rank < 1 or rank != int(rank)):
            raise self.error(field, f"{rank:g} is no rank", "ranks are whole numbers, 1 is best")
        return None if rank is None else int(rank)

    def places(self, name: str, length: int) -> tuple[int, ...] | None:
        """Each of 1 to `length` once."""
        values = self.numbers(name, length)
        if values is not None and sorted(values) != list(range(1, length + 1)):
            raise self.error(name, "no order in which they were shown", f"each place from 1 to {length} once")
        return None if values is None else tuple(map(int, values))

    def per_completion(self, name: str, length: int) -> tuple[Any, ...] | None:
        """A list with one entry for each completion."""
        values = self.columns.get(name)
        if values is None:
            return None
        if not isinstance(values, list | tuple):
            raise self.error(name, f"expected a list, got {kind(values)}")
        if len(values) != length:
            raise self.error(name, f"{len(values)} entries for {length} completions")
        return tuple(values)

    def word(self, name: str) -> str | None:
        return self.as_word(name, self.columns.get(name))

    def words(self, name: str, length: int) -> tuple[str | None, ...]:
        values = self.per_completion(name, length) or (None,) * length
        return tuple(self.as_word(f"{name}[{i}]", value) for i, value in enumerate(values))

    def as_word(self, field: str, value: object) -> str | None:
        """A name or an id: text or a whole number."""
        if value is None or (isinstance(value, str) and value):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        raise self.error(field, "empty text" if value == "" else f"expected text, got {kind(value)}")

    def flag(self, name: str) -> bool | None:
        value = self.columns.get(name)
        if value is None or isinstance(value, bool):
            return value
        raise self.error(name, f"expected true or false, got {kind(value)}")

    def flags(self, name: str, length: int) -> tuple[bool, ...] | None:
        values = self.per_completion(name, length)
        for i, value in enumerate(values or ()):
            if not isinstance(value, bool):
                raise self.error(f"{name}[{i}]", f"expected true or false, got {kind(value)}")
        return values

    def texts(self, name: str, length: int) -> tuple[str, ...] | None:
        values = self.per_completion(name, length)
        return values and tuple(self.as_text(f"{name}[{i}]", value) for i, value in enumerate(values))

    def optional_text(self, name: str) -> str | None:
        value = self.columns.get(name)
        return None if value is None else self.as_text(name, value)

    def duration(self, name: str) -> float | None:
        value = self.number(name)
        if value is not None and value < 0:
            raise self.error(name, f"{value:g} is less than no time", "seconds, 0 or more")
        return value

    def weight(self, name: str) -> float:
        value = self.number(name)
        if value is not None and value <= 0:
            raise self.error(name, f"{value:g} is no weight", "a number above 0")
        if value is not None and not 1 / HEAVIEST <= value <= HEAVIEST:
            fix = f"a number from {1 / HEAVIEST:g} to {HEAVIEST:g}; only their ratios count"
            raise self.error(name, f"{value:g} is no weight that can be computed with", fix)
        return 1.0 if value is None else value

    def tools(self, name: str) -> tuple[Mapping[str, Any], ...]:
        """A list of tool schemas, or that list as JSON text (tables whose columns have one type keep it so)."""
        value = self.columns.get(name)
        if isinstance(value, str):
            value = self.json(name, value) if value.strip() else None
        if value is None:
            return ()
        if not isinstance(value, list | tuple):
            raise self.error(name, f"expected a list of objects, got {kind(value)}")
        return tuple(self.as_object(f"{name}[{i}]", tool) for i, tool in enumerate(value))

    def group(
        self,
        prompt: Text,
        contents: tuple[Text, ...],
        *judgements: Judgement | None,
        models: tuple[str | None, ...] = (),
    ) -> Group:
        """The group of these texts, with what columns of every format say of it."""
        made = map(Completion, contents, models) if models else map(Completion, contents)
        columns = self.columns
        return Group(
            id=self.word("id") or Counted(self.origin.line),
            prompt=prompt,
            completions=tuple(made),
            judgements=tuple(one for one in judgements if one is not None),
            weight=self.weight("weight") if "weight" in columns else 1.0,
            category=self.word("category") if "category" in columns else None,
            tools=self.tools("tools") if "tools" in columns else (),
            source=self.origin,
        )


def _plain_turns(value: list[Any] | tuple[Any, ...]) -> tuple[Message, ...] | None:
    """The turns, if each is a known role and a text and nothing else, as nearly all are; None: look closer."""
    turns = []
    try:
        for message in value:
            role, content = KNOWN_ROLES[message["role"]], message["content"]
            if type(content) is not str or len(message) != 2:
                return None
            turns.append(Message(role, content))
    except (KeyError, TypeError, IndexError):
        return None
    return tuple(turns)
