"""Counts of a project, made by the database: how far it is, who did how much, why pages were skipped, and how fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Integer, and_, case, cast, func, select

from accord.collect.quality_read import COUNTED
from accord.collect.schema import account, assignment, item

DAY = 86_400
RECENT = 7  # days, from which it is estimated when a project is done


@dataclass(frozen=True)
class Progress:
    """judgements, wanted: those that count to the overlap. aside: groups skipped too often. gold: of known answer."""

    groups: int
    complete: int
    judgements: int
    wanted: int
    open: int
    gold: int
    aside: int
    adjudicated: int


@dataclass(frozen=True)
class Pace:
    """days: (midnight UTC in seconds since 1970, judgements). a_day: of late. finish: seconds since 1970, if known."""

    days: tuple[tuple[float, int], ...]
    a_day: float
    finish: float | None


def progress(connection: Connection, project_id: int, skips_to_flag: int) -> Progress:
    """A group is complete when it has all judgements that are wanted, and none of them is a page still open."""
    plain = item.c.gold.is_(None)
    counts = connection.execute(
        select(
            func.count(case((plain, 1))).label("groups"),
            func.count(case((and_(plain, item.c.taken >= item.c.wanted), 1))).label("full"),
            func.coalesce(func.sum(case((plain, item.c.wanted))), 0).label("wanted"),
            func.count(item.c.gold).label("gold"),
            func.count(case((and_(plain, item.c.skips >= skips_to_flag, item.c.taken < item.c.wanted), 1))).label(
                "aside"
            ),
        ).where(item.c.project_id == project_id)
    ).one()
    by_kind = _by_kind(connection, project_id)
    half_open = connection.execute(
        select(func.count(assignment.c.item_id.distinct()))
        .join(item, item.c.id == assignment.c.item_id)
        .where(assignment.c.project_id == project_id, assignment.c.status == "open", assignment.c.kind == "label")
        .where(item.c.taken >= item.c.wanted, plain)
    ).scalar_one()
    judgements = sum(by_kind.get((kind, "done"), 0) for kind in COUNTED)
    held = sum(count for (kind, status), count in by_kind.items() if status == "open" and kind != "adjudication")
    return Progress(
        counts.groups, counts.full - half_open, judgements, int(counts.wanted), held, counts.gold, counts.aside,
        by_kind.get(("adjudication", "done"), 0),
    )  # fmt: skip


def _by_kind(connection: Connection, project_id: int) -> Mapping[tuple[str, str], int]:
    query = (
        select(assignment.c.kind, assignment.c.status, func.count())
        .where(assignment.c.project_id == project_id)
        .group_by(assignment.c.kind, assignment.c.status)
    )
    return {(kind, status): count for kind, status, count in connection.execute(query)}


@dataclass(frozen=True)
class Done:
    """Of one annotator. last: when they ended a page, seconds since 1970."""

    account: int
    name: str
    labels: int
    gold: int
    skips: int
    last: float | None


def by_annotator(connection: Connection, project_id: int) -> list[Done]:
    """Everyone who had a page of the project, by name."""
    done = assignment.c.status == "done"
    query = (
        select(
            account.c.id,
            account.c.name,
            func.count(case((and_(done, assignment.c.kind.in_(COUNTED)), 1))).label("labels"),
            func.count(case((and_(done, assignment.c.kind == "gold"), 1))).label("gold"),
            func.count(case((assignment.c.status == "skipped", 1))).label("skips"),
            func.max(assignment.c.ended).label("last"),
        )
        .join(assignment, assignment.c.account_id == account.c.id)
        .where(assignment.c.project_id == project_id, assignment.c.kind != "adjudication")
        .group_by(account.c.id, account.c.name)
        .order_by(account.c.name)
    )
    return [Done(*row) for row in connection.execute(query)]


def skip_reasons(connection: Connection, project_id: int, most: int = 20) -> list[tuple[str, int]]:
    """The reasons given most often."""
    query = (
        select(assignment.c.reason, func.count().label("count"))
        .where(assignment.c.project_id == project_id, assignment.c.status == "skipped")
        .group_by(assignment.c.reason)
        .order_by(func.count().desc(), assignment.c.reason)
        .limit(most)
    )
    return [(row.reason or "no reason", int(row[1])) for row in connection.execute(query)]


def pace(connection: Connection, project_id: int, left: int, now: float) -> Pace:
    """The finish is where the last days' mean leads; nobody knows it of a project that stands still."""
    day = cast(func.floor(assignment.c.ended / DAY), Integer).label("day")
    query = (
        select(day, func.count(), func.min(assignment.c.ended))
        .where(assignment.c.project_id == project_id, assignment.c.status == "done", assignment.c.ended.isnot(None))
        .where(assignment.c.kind.in_(("label", "gold")))
        .group_by(day)
        .order_by(day)
    )
    rows: list[Any] = list(connection.execute(query))
    recent = [row for row in rows if row[0] * DAY > now - RECENT * DAY]
    since = min((float(row[2]) for row in recent), default=now)
    a_day = sum(row[1] for row in recent) / max((now - since) / DAY, 1 / 24) if recent else 0.0
    finish = now + DAY * left / a_day if a_day and left > 0 else None
    return Pace(tuple((float(row[0] * DAY), int(row[1])) for row in rows[-60:]), a_day, finish)
