"""One value of JSON, strictly: UTF-8, every key once, whole characters, and no larger than a row may be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from json import JSONDecodeError, JSONDecoder
from typing import Any

from accord.data.findings import DROP
from accord.data.report import Particular
from accord.records import Message, Origin, RecordError

DEPTH_LIMIT = 100  # lists and objects within each other; Python's own limit, 1000, would be met in later walks
VALUE_LIMIT = 1_000_000  # values of one row: `{}` is 2 bytes of a file and 64 of memory
DIGIT_LIMIT = 300  # digits of a whole number: one of 309 is no float any more, and parsing takes the square of them

# Possessive: without going back, so in linear time and no memory. The end of the text may end the last string.
STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\Z|\\\Z)', re.DOTALL)
NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))


class Flawed(Exception):
    """What is no value. finding: its name in FINDINGS; place: characters before it; field: which part of the value."""

    def __init__(self, finding: str, what: str, *, place: int | None = None, field: str = "", reason: str = "") -> None:
        self.finding, self.what, self.place, self.field, self.reason = finding, what, place, field, reason or what
        super().__init__(what)


def value_of(data: bytes) -> Any:
    """The value that `data` is. Flawed if it is none, or too large, or says one thing twice."""
    if what := _oversized(data):
        raise Flawed("too_large", what)
    text = text_of(data)
    try:
        value = _ONCE.decode(text)
    except JSONDecodeError as error:
        raise Flawed("broken_json", error.msg, place=error.pos, reason="not JSON") from error
    except _Twice:
        value = _marked(text)
    half = b"\\u" in data and (b"\\ud" in data or b"\\uD" in data)
    if half and (flaw := flaw_of(value)):
        raise flaw
    return value


def text_of(data: bytes) -> str:
    """Flawed with the first byte that is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        place = len(data[: error.start].decode())
        raise Flawed("not_utf8", f"byte 0x{data[error.start]:02x}", place=place, reason="not UTF-8") from error


def row_of(data: bytes, origin: Origin) -> object:
    """The value of a line, or the RecordError that it is."""
    try:
        return value_of(data)
    except Flawed as flaw:
        return record_error(flaw, data, origin)


def record_error(flaw: Flawed, data: bytes, origin: Origin, column: int = 1) -> RecordError:
    """The flaw with its line and column, where `data` starts at `column` of the line of `origin`."""
    what = flaw.what
    if flaw.place is not None:
        before = data.decode(errors="replace")[: flaw.place]
        if lines := before.count("\n"):
            origin, column = origin._replace(line=origin.line + lines), 1
        column += len(before) - (before.rfind("\n") + 1)
        what = f"{flaw.reason} (column {column}): {flaw.what}"
    fix = "save the file as UTF-8" if flaw.finding == "not_utf8" else DROP
    return Particular(flaw.reason, what, origin=origin, field=flaw.field, fix=fix, finding=flaw.finding)


def _oversized(data: bytes) -> str | None:
    """Why this is not to be parsed. What stands in strings is looked at only where the brackets in all are many."""
    if data.count(b"[") + data.count(b"{") <= DEPTH_LIMIT and len(data) <= VALUE_LIMIT:
        return None
    bones = STRING.sub(b"", data)
    if bones.count(b"[") + bones.count(b"{") + bones.count(b",") > VALUE_LIMIT:
        return f"more than {VALUE_LIMIT:,} values in one row"
    depth = 0
    for bracket in bones.translate(None, NO_BRACKET):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEPTH_LIMIT:
            return f"nested more than {DEPTH_LIMIT} deep"
    return None


def _whole(digits: str) -> int:
    if len(digits) > DIGIT_LIMIT:
        raise Flawed("too_large", f"a whole number of more than {DIGIT_LIMIT} digits")
    return int(digits)


class _Twice(Exception):
    """Somewhere in the value a key stands twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _Twice
    return made


class _Marked(dict[str, Any]):
    """An object in which the key `twice` stands twice (the values differ, or nobody would have written both)."""

    twice = ""


def _mark(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = _Marked(pairs)
    if len(made) == len(pairs):
        return dict(made)
    counts = Counter(name for name, _ in pairs)
    made.twice = next(name for name, count in counts.items() if count > 1)
    return made


_ONCE = JSONDecoder(object_pairs_hook=_once, parse_int=_whole)
_MARKING = JSONDecoder(object_pairs_hook=_mark, parse_int=_whole)


def _marked(text: str) -> Any:
    """Parsed again to find which key it is: this is rare, and the field is worth it."""
    try:
        value = _MARKING.decode(text)
    except JSONDecodeError as error:
        raise Flawed("broken_json", error.msg, place=error.pos, reason="not JSON") from error
    flaw = flaw_of(value)
    assert flaw is not None
    raise flaw


def flaw_of(value: object, field: str = "") -> Flawed | None:
    """The first duplicate key, or half a character (a lone surrogate), and in which field."""
    if isinstance(value, Message):
        value = value.plain()
    if isinstance(value, str):
        half = None if value.isascii() else next((c for c in value if "\ud800" <= c <= "\udfff"), None)
        what = half and f"lone surrogate \\u{ord(half):04x} (half a character)"
        return Flawed("lone_surrogate", what, field=field) if what else None
    if isinstance(value, _Marked):
        return Flawed("duplicate_key", "duplicate key", field=".".join(filter(None, (field, value.twice))))
    if isinstance(value, list | tuple):
        flaws = (flaw_of(item, f"{field}[{i}]") for i, item in enumerate(value))
    elif isinstance(value, Mapping):
        prefix = field and field + "."
        flaws = (flaw_of(key, field) or flaw_of(item, f"{prefix}{key}") for key, item in value.items())
    else:
        return None
    return next((flaw for flaw in flaws if flaw), None)
