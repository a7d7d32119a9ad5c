"""The form of a project's settings: from fields to Settings and back, without JSON for anybody to write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from starlette.datastructures import ImmutableMultiDict

from accord.collect.settings import RESERVED, Settings

Fields = ImmutableMultiDict[str, str]
WHOLE = ("scale", "overlap", "skips_to_flag")
WORDS = ("layout", "choice", "members", "render")
ALPHABET = "".join(one for one in "abcdefghijklmnopqrstuvwxyz" if one not in RESERVED)
BOXES = ("rate", "notes", "ties", "blur")
TITLES = {
    "layout": "Layout", "rate": "Rate before ranking", "scale": "Rating scale", "flags": "Flags", "notes": "Notes",
    "ties": "Ties", "overlap": "Judgements per group", "gold_share": "Share of known answers", "choice": "Order",
    "lease_minutes": "Minutes that a page is held", "most": "Most pages per annotator", "members": "Who may label",
    "render": "Texts", "blur": "Blur", "instructions": "Instructions", "examples": "Examples",
    "skips": "Reasons for a skip", "skips_to_flag": "Skips that set a group aside", "hook": "Web hook",
}  # fmt: skip


class Change(NamedTuple):
    """A setting that somebody else stored and that this form says otherwise."""

    title: str
    stored: str
    mine: str


def values_of(form: Fields) -> dict[str, Any]:
    """Settings as JSON values, as far as they can be read; what cannot stays as it was typed, to be shown again."""
    values: dict[str, Any] = {name: form.get(name, "") for name in WORDS}
    values |= {name: name in form for name in BOXES}
    values |= {name: _whole(form.get(name, "")) for name in WHOLE}
    values["most"] = _whole(form.get("most", "")) if form.get("most", "").strip() else None
    values["lease_minutes"] = _number(form.get("lease_minutes", ""))
    share = _number(form.get("gold_percent", ""))
    values["gold_share"] = share / 100 if isinstance(share, float) else share
    values["hook"] = form.get("hook", "").strip() or None
    values["instructions"] = _lines(form.get("instructions", ""))
    values["skips"] = [line.strip() for line in form.get("skips", "").splitlines() if line.strip()]
    values["examples"] = list(_examples(form))
    values["flags"] = list(_flags(form))
    return values


def changes(stored: Settings, mine: Mapping[str, Any]) -> list[Change]:
    """Where they differ."""
    before = stored.model_dump(mode="json")
    return [
        Change(TITLES[name], _said(before[name]), _said(mine[name]))
        for name in before
        if name in mine and before[name] != mine[name]
    ]


def _said(value: Any) -> str:
    if isinstance(value, list):
        names = [str(one.get("label") or one.get("title")) if isinstance(one, dict) else str(one) for one in value]
        return ", ".join(names) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "none" if value in (None, "") else str(value)
    return text if len(text) < 200 else text[:199] + "…"


def _examples(form: Fields) -> Iterator[dict[str, str]]:
    for title, text in zip(form.getlist("example_title"), form.getlist("example_text"), strict=False):
        if title.strip() or text.strip():
            yield {"title": title.strip() or "Example", "text": _lines(text)}


def _flags(form: Fields) -> Iterator[dict[str, str]]:
    """A row without a label is none. A key is made of the label once, and stays; letters are chosen where none is."""
    names = ("flag_key", "flag_label", "flag_letter", "flag_definition")
    rows = [row for row in zip(*(form.getlist(name) for name in names), strict=False) if row[1].strip()]
    keys, letters = {row[0] for row in rows if row[0]}, {row[2].strip().lower() for row in rows}
    for key, label, letter, definition in rows:
        letter = letter.strip().lower()
        if not key:
            key = _free(_slug(label), keys)
            keys.add(key)
        if not letter:
            free = (one for one in label.lower() + ALPHABET if one in ALPHABET and one not in letters)
            letter = next(free, "")
            letters.add(letter)
        yield {"key": key, "label": label.strip(), "definition": _lines(definition), "letter": letter}


def _slug(label: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")[:36]
    return words if re.match(r"[a-z]", words) else f"flag_{words}".strip("_")


def _free(name: str, taken: set[str]) -> str:
    return next(one for one in (name, *(f"{name}_{i}" for i in range(2, 100))) if one not in taken)


def _whole(text: str) -> int | str:
    return int(text) if re.fullmatch(r"\s*-?\d{1,9}\s*", text) else text


def _number(text: str) -> float | str:
    return float(text) if re.fullmatch(r"\s*-?\d{1,9}(\.\d{0,9})?\s*", text) else text


def _lines(text: str) -> str:
    """Forms send line ends of two characters."""
    return text.replace("\r\n", "\n")
