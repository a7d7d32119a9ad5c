"""Groups as owners look them up: in pages of a list, and one with all that was said of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, or_, select, tuple_

from accord.collect.layouts import LETTERS
from accord.collect.quality_read import COUNTED, alike
from accord.collect.refusals import NotThere
from accord.collect.schema import account, assignment, item, judgement, output
from accord.collect.submissions import beginning

ROWS = 50
BATCH = 200  # groups that are looked through at a time for disputed ones
LOOKED = 2000  # at most, for one page
NOTHING = dict.fromkeys(("ratings", "ranks", "flags", "notes", "labels", "both_bad", "text"))  # of an answer
DISPUTED = 0.6  # who agree less than this, on average over couples, dispute


@dataclass(frozen=True)
class Line:
    """A group of the list. agreement: 0..1, over couples of judgements."""

    id: int
    key: str
    words: str
    k: int
    category: str | None
    judged: int
    wanted: int
    skips: int
    gold: bool
    sensitive: bool
    settled: bool
    agreement: float | None


@dataclass(frozen=True)
class Lines:
    """behind: where the next page begins, if there is one. looked: how many groups were looked through."""

    lines: Sequence[Line]
    behind: str | None
    looked: int


HELD = (  # a page of it lies before somebody
    select(assignment.c.id)
    .where(assignment.c.item_id == item.c.id, assignment.c.kind == "label", assignment.c.status == "open")
    .exists()
)
FILTERS: dict[str, Callable[[], list[ColumnElement[bool]]]] = {
    "all": lambda: [],
    "disputed": lambda: [item.c.taken >= 2],
    "complete": lambda: [item.c.taken >= item.c.wanted, ~HELD, item.c.gold.is_(None)],
    "open": lambda: [or_(item.c.taken < item.c.wanted, HELD), item.c.gold.is_(None)],
    "skipped": lambda: [item.c.skips > 0],
    "gold": lambda: [item.c.gold.isnot(None)],
}


def lines(connection: Connection, project: int, which: str, search: str, behind: str, scale: int) -> Lines:
    """A page of the list, behind the place where the one before it ended."""
    found: list[Line] = []
    looked, size = 0, BATCH if which == "disputed" else ROWS
    while True:
        rows = connection.execute(_rows(project, which, search, behind, size + 1)).all()
        more, rows = len(rows) > size, rows[:size]
        looked += len(rows)
        for row, line in zip(rows, _lines(connection, rows, scale), strict=True):
            if which == "disputed" and (line.agreement is None or line.agreement >= DISPUTED):
                continue
            found.append(line)
            if len(found) == ROWS:
                return Lines(found, _place(row) if more or row is not rows[-1] else None, looked)
        behind = _place(rows[-1]) if rows else behind
        if not more or which != "disputed" or looked >= LOOKED:
            return Lines(found, behind if more else None, looked)


def _place(row: Row[Any]) -> str:
    return f"{row.position!r},{row.id}"


def _rows(project: int, which: str, search: str, behind: str, most: int) -> Select[Any]:
    query = select(item).where(item.c.project_id == project, *FILTERS.get(which, FILTERS["all"])())
    if search:
        inside = json.dumps(search, ensure_ascii=False)[1:-1]
        query = query.where(or_(item.c.key == search, item.c.prompt.icontains(inside, autoescape=True)))
    position, _, id = behind.partition(",")
    try:
        query = query.where(tuple_(item.c.position, item.c.id) > tuple_(float(position), int(id)))
    except ValueError:
        pass  # from the beginning
    return query.order_by(item.c.position, item.c.id).limit(most)


def _lines(connection: Connection, rows: Sequence[Row[Any]], scale: int) -> list[Line]:
    said, settled = _said(connection, [row.id for row in rows])
    return [
        Line(row.id, row.key, beginning(json.loads(row.prompt), 120), row.k, row.category, len(said[row.id]),
             row.wanted, row.skips, row.gold is not None, row.sensitive, row.id in settled,
             agreement(said[row.id], scale))
        for row in rows
    ]  # fmt: skip


def agreement(said: Sequence[Any], scale: int) -> float | None:
    """The mean over couples of answers."""
    values = [alike(one, other, scale) for i, one in enumerate(said) for other in said[:i]]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _said(connection: Connection, ids: Sequence[int]) -> tuple[dict[int, list[Any]], set[int]]:
    """The newest revision of each judgement, by group; and which groups are settled."""
    query = (
        select(assignment.c.item_id, assignment.c.id, assignment.c.kind, judgement.c.answer)
        .join(judgement, judgement.c.assignment_id == assignment.c.id)
        .where(assignment.c.item_id.in_(ids), assignment.c.status == "done")
        .order_by(assignment.c.id, judgement.c.revision)
    )
    newest = {row.id: row for row in connection.execute(query)}
    said: dict[int, list[Any]] = defaultdict(list)
    settled = {row.item_id for row in newest.values() if row.kind == "adjudication"}
    for row in newest.values():
        if row.kind in COUNTED:
            said[row.item_id].append(json.loads(row.answer))
    return said, settled


@dataclass(frozen=True)
class Said:
    """One judgement of a group. shown: the letter under which each output was seen. older: its revisions."""

    annotator: str
    kind: str
    status: str
    reason: str | None
    answer: dict[str, Any] | None
    shown: tuple[str, ...]
    seconds: float | None
    ended: float | None
    older: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Whole:
    """A group, with all that was said of it."""

    row: Row[Any]
    prompt: list[dict[str, str]]
    outputs: list[dict[str, Any]]
    said: list[Said]
    settled: dict[str, Any] | None


def whole(connection: Connection, project: int, group: int) -> Whole:
    """NotThere: there is none in this project."""
    row = connection.execute(select(item).where(item.c.id == group, item.c.project_id == project)).first()
    if row is None:
        raise NotThere("no such group", where=str(group))
    outputs = connection.execute(select(output).where(output.c.item_id == group).order_by(output.c.place)).all()
    said = _judgements(connection, group)
    settled = [one.answer for one in said if one.kind == "adjudication" and one.answer]
    return Whole(
        row,
        _turns(json.loads(row.prompt), "user"),
        [{"place": one.place, "model": one.model, "turns": _turns(json.loads(one.content), "assistant")}
         for one in outputs],
        said,
        settled[-1] if settled else None,
    )  # fmt: skip


def _turns(content: Any, role: str) -> list[dict[str, str]]:
    if not isinstance(content, list):
        return [{"role": role, "text": str(content)}]
    return [{"role": str(one.get("role", role)), "text": _text(one)} for one in content]


def _text(turn: dict[str, Any]) -> str:
    rest = {key: value for key, value in turn.items() if key not in ("role", "content") and value}
    text = turn.get("content")
    text = text if isinstance(text, str) else "" if text is None else json.dumps(text, ensure_ascii=False)
    return "\n".join(filter(None, [text, json.dumps(rest, ensure_ascii=False) if rest else ""]))


def _judgements(connection: Connection, group: int) -> list[Said]:
    query = (
        select(assignment, account.c.name, judgement.c.answer, judgement.c.active_ms, judgement.c.revision)
        .join(account, account.c.id == assignment.c.account_id)
        .outerjoin(judgement, judgement.c.assignment_id == assignment.c.id)
        .where(assignment.c.item_id == group)
        .order_by(assignment.c.id, judgement.c.revision)
    )
    pages: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(query):
        pages[row.id].append(row)
    return [_one(rows) for rows in pages.values()]


def _one(rows: Sequence[Row[Any]]) -> Said:
    row = rows[-1]
    shown = json.loads(row.shown)
    letter = {place: name for name, place in zip(LETTERS, shown, strict=False)}
    answers = [{**NOTHING, **json.loads(one.answer)} for one in rows if one.answer is not None]
    return Said(
        row.name, row.kind, row.status, row.reason, answers[-1] if answers else None,
        tuple(letter.get(place, "") for place in range(len(shown))),
        None if row.active_ms is None else row.active_ms / 1000, row.ended, tuple(answers[:-1]),
    )  # fmt: skip
