"""The columns `label` and `labels` of labelled text: the name of a class, a list of names, or yes and no by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from accord.data.fields import SHOWN, Row, kind
from accord.records import Class, Judgement

ONE_OF = "give a name, a list of names, or an object of names with true or false"


class Label(NamedTuple):
    """What one row says of its text."""

    classes: tuple[Class, ...] | None = None  # (1,)
    flags: Mapping[str, tuple[bool | None, ...]] = {}

    def judgement(self, annotator: str | None, *, thumb: bool | None = None) -> Judgement | None:
        """None where nothing is said. thumb: up or down, beside it."""
        if self.classes is None and not self.flags and thumb is None:
            return None
        thumbs = None if thumb is None else (thumb,)
        return Judgement(labels=thumbs, annotator=annotator, classes=self.classes, flags=self.flags)


def label_of(row: Row, names: tuple[str, ...] = ("label", "labels")) -> Label:
    """What these columns say; one of them at most says something."""
    given = [name for name in names if row.columns.get(name) is not None]
    if not given:
        return Label()
    if len(given) > 1:
        raise row.error(given[1], f"there is {given[0]}, too", "keep one of them")
    value = row.columns[given[0]]
    if isinstance(value, Mapping):
        return Label(flags=flags(row, given[0], {name: [one] for name, one in value.items()}, 1))
    return Label(classes=(as_class(row, given[0], value),))


def as_class(row: Row, field: str, value: object) -> Class:
    """A name, or the names of a list, each once."""
    if not isinstance(value, list | tuple):
        return as_name(row, field, value)
    found = tuple(as_name(row, f"{field}[{i}]", one) for i, one in enumerate(value))
    if twice := next((name for name in found if found.count(name) > 1), None):
        raise row.error(field, f"{twice!r} twice", "name each label once")
    return found


def as_name(row: Row, field: str, value: object) -> str:
    """The name of a class: text, true or false, or a number, as it is written."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        number = row.finite(field, value)
        return str(int(number)) if number.is_integer() else repr(number)
    if not isinstance(value, str):
        raise row.error(field, f"expected a name, got {kind(value)}", ONE_OF)
    if not value.strip():
        raise row.error(field, "empty text", ONE_OF)
    return value


def classes(row: Row, field: str, k: int) -> tuple[Class, ...] | None:
    """(K,) of a list with one entry for each completion."""
    values = row.per_completion(field, k)
    return None if values is None else tuple(as_class(row, f"{field}[{i}]", one) for i, one in enumerate(values))


def flags(row: Row, field: str, values: Mapping[str, Any], k: int) -> dict[str, tuple[bool | None, ...]]:
    """name -> (K,) yes or no; null where it was not said. What was said of no completion is left out."""
    inner = row.within(field, values)
    every = {name: inner.per_completion(f"{field}.{name}", k) for name in values}
    read = {name: tuple(_flag(row, f"{field}.{name}", one) for one in found) for name, found in every.items() if found}
    return {name: found for name, found in read.items() if any(one is not None for one in found)}


def _flag(row: Row, field: str, value: object) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    if value in (0, 1):
        return bool(value)
    shown = f" {value!r}" if isinstance(value, int | float) or (isinstance(value, str) and len(value) < SHOWN) else ""
    raise row.error(field, f"expected true or false, got {kind(value)}{shown}", ONE_OF)


def says(judgement: Judgement) -> bool:
    """Whether it says of what kind texts are."""
    return judgement.classes is not None or bool(judgement.flags)


def label_columns(judgement: Judgement, place: int) -> dict[str, Any]:
    """The column `labels` of one completion, where something is said of it. A class goes before flags."""
    if judgement.classes is not None:
        value = judgement.classes[place]
        return {"labels": value if isinstance(value, str) else list(value)}
    said = {name: values[place] for name, values in judgement.flags.items() if values[place] is not None}
    return {"labels": said} if said else {}
