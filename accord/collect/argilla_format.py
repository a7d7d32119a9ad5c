"""Argilla's records: as `records.to_json()` of 2.x writes them, nested or flat, and as a FeedbackDataset is kept.

    2.x: {"id", "fields": {...}, "responses": {question: [{"value", "user_id"}]}, "suggestions", "metadata", ...}
    2.x, flat: the fields, and `question.responses`, `question.responses.users`, `question.responses.status`
    FeedbackDataset, records: {"fields", "responses": [{"user_id", "status", "values": {question: {"value"}}}], ...}
    FeedbackDataset, as a data set: the fields, and a column for each question: [{"user_id", "value", "status"}]

A ranking is [{"value": name, "rank": 1}, ...], the same as two lists, or names with the best first. Suggestions are
what models proposed, and no judgements; drafts and discarded responses are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from accord.collect.peers_answers import Fields, Said, asked, group_of, mapping
from accord.data.fields import Counted
from accord.data.lines import Raw
from accord.data.report import DataReport
from accord.records import Group

FLAT = ".responses"
Response = tuple[str | None, str, Any]  # who, question, value


def is_one(row: Mapping[str, Any]) -> bool:
    """Whether this is such a record."""
    nested = isinstance(row.get("fields"), Mapping) and isinstance(row.get("responses"), Mapping | list)
    return nested or any(name.endswith(FLAT) for name in row) or any(_is_question(value) for value in row.values())


def _is_question(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(_is_response(one) for one in value)


def _is_response(value: object) -> bool:
    return isinstance(value, Mapping) and {"user_id", "value", "status"} <= set(value)


def groups(raws: Iterable[Raw], fields: Fields, report: DataReport) -> Iterator[Group]:
    """RecordError, InputError: a row that is none, or fields that cannot be told."""
    for raw in raws:
        origin, row = mapping(raw)
        report.read += 1
        columns = _fields(row)
        prompt, outputs = asked(columns, fields, origin)
        people: dict[str | None, Said] = {}
        for who, question, value in _responses(row, report, str(origin)):
            said = people.setdefault(who, Said(outputs, fields, report, str(origin)))
            _take(said, question, value)
        if row.get("suggestions") or any(name.endswith((".suggestion", "-suggestion")) for name in row):
            report.ignore(["suggestions (of models)"])
        id = row.get("external_id") or row.get("id")
        made = [said.judgement(who) for who, said in people.items()]
        yield group_of(str(id) if id else Counted(origin.line), columns, prompt, outputs, made, origin)


def _fields(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The texts of a record."""
    if isinstance(row.get("fields"), Mapping):
        return {name: value for name, value in row["fields"].items() if value is not None}
    aside = ("id", "external_id", "_server_id", "status", "metadata", "vectors", "inserted_at", "updated_at")
    return {
        name: value
        for name, value in row.items()
        if name not in aside
        and not any(part in name for part in (FLAT, ".suggestion", "-suggestion"))
        and not _is_question(value)
        and isinstance(value, str | list)
        and value
    }


def _responses(row: Mapping[str, Any], report: DataReport, where: str) -> Iterator[Response]:
    for who, status, question, value in _all(row):
        if status in (None, "submitted"):
            if value is not None:
                yield (None if who is None else str(who)), question, value
        else:
            report.note(f"responses that are {status}, left out", where=where)


def _all(row: Mapping[str, Any]) -> Iterator[tuple[Any, Any, str, Any]]:
    """who, status, question, value"""
    nested = row.get("responses")
    if isinstance(nested, Mapping):
        for question, several in nested.items():
            for one in several or ():
                yield one.get("user_id"), one.get("status"), question, one.get("value")
    for one in nested if isinstance(nested, list) else ():
        for question, answer in (one.get("values") or {}).items():
            yield one.get("user_id"), one.get("status"), question, (answer or {}).get("value")
    for name, values in row.items():
        if _is_question(values):
            yield from ((one["user_id"], one["status"], name, one["value"]) for one in values)
        elif name.endswith(FLAT) and isinstance(values, list):
            yield from _flat(row, name, values)


def _flat(row: Mapping[str, Any], name: str, values: list[Any]) -> Iterator[tuple[Any, Any, str, Any]]:
    whose, status = (row.get(f"{name}.{what}") or [None] * len(values) for what in ("users", "status"))
    for who, is_now, value in zip(whose, status, values, strict=False):
        yield who, is_now, name.removesuffix(FLAT), value


def _take(said: Said, question: str, value: Any) -> None:
    if isinstance(value, Mapping) and isinstance(value.get("value"), list) and isinstance(value.get("rank"), list):
        value = [{"value": one, "rank": rank} for one, rank in zip(value["value"], value["rank"], strict=True)]
    if isinstance(value, bool | int | float):
        said.rating(question, float(value))
    elif isinstance(value, str):
        said.choice(question, [value])
    elif isinstance(value, list) and value and all(isinstance(one, Mapping) and "rank" in one for one in value):
        said.order(question, {str(one["value"]): int(one["rank"]) for one in value})
    elif isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        is_order = len(said.names) > 1 and len(value) == len(said.names) and question not in said.fields.labels
        if is_order and all(said.names_one(one) for one in value):
            said.order(question, {one: rank for rank, one in enumerate(value, 1)})
        else:
            said.choice(question, value)
    else:
        said.report.ignore([f"{question} (answers of another kind)"])
