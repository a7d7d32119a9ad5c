"""What was judged in a project, as its quality is measured: of many groups a part, drawn by their numbers.

Whole groups are drawn, so that who judged the same one stays together. The part is 1, 1/2, 1/4 ... of all, and the
smaller part lies within the larger one: as a project grows, figures do not jump to other groups.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, and_, func, select

from accord.collect.schema import assignment, item, judgement

COUNTED = ("label", "imported")  # kinds of judgements that count to the overlap
HASHED = 2**32
MOST = 12_000  # judgements that are read


class Given(NamedTuple):
    """The newest revision of one judgement. at: when it was first given, seconds since 1970."""

    item: int
    account: int
    kind: str
    shown: tuple[int, ...]
    answer: Mapping[str, Any]
    active_ms: int | None
    at: float


@dataclass(frozen=True)
class Read:
    """Judgements in the order in which they were given. share: of all groups, the part that was drawn.

    wanted: overlap of each item that has a judgement. gold: the known answers.
    """

    given: Sequence[Given]
    share: float
    wanted: Mapping[int, int]
    gold: Mapping[int, Mapping[str, Any]]

    @property
    def counted(self) -> list[Given]:
        """Those that count to the overlap: groups of known answer are judged by everybody, and stand apart."""
        return [one for one in self.given if one.kind in COUNTED]


def read(connection: Connection, project_id: int, *, most: int = MOST) -> Read:
    """All judgements of the project, or of as large a part of its groups as has about `most`."""
    done = (assignment.c.project_id == project_id, assignment.c.status == "done")
    count = connection.execute(select(func.count()).select_from(assignment).where(*done)).scalar_one()
    halvings = 0
    while count >> halvings > most:
        halvings += 1
    rows = connection.execute(_judgements(project_id, HASHED >> halvings)).all()
    given = [
        Given(row.item_id, row.account_id, row.kind, tuple(json.loads(row.shown)), json.loads(row.answer),
              row.active_ms, row.at)
        for row in rows
    ]  # fmt: skip
    wanted = {row.item_id: row.wanted for row in rows}
    gold = {row.item_id: json.loads(row.gold) for row in rows if row.gold is not None}
    return Read(given, 1 / 2**halvings, wanted, gold)


def _judgements(project_id: int, below: int) -> Select[Any]:
    newest = (
        select(judgement.c.assignment_id, func.max(judgement.c.revision).label("revision"))
        .join(assignment, assignment.c.id == judgement.c.assignment_id)
        .join(item, item.c.id == assignment.c.item_id)
        .where(assignment.c.project_id == project_id, assignment.c.status == "done", _drawn(below))
        .group_by(judgement.c.assignment_id)
        .subquery()
    )
    same = and_(judgement.c.assignment_id == newest.c.assignment_id, judgement.c.revision == newest.c.revision)
    at = func.coalesce(assignment.c.ended, judgement.c.created).label("at")
    return (
        select(
            assignment.c.item_id, assignment.c.account_id, assignment.c.kind, assignment.c.shown, item.c.gold,
            item.c.wanted, judgement.c.answer, judgement.c.active_ms, at,
        )
        .select_from(newest)
        .join(judgement, same)
        .join(assignment, assignment.c.id == judgement.c.assignment_id)
        .join(item, item.c.id == assignment.c.item_id)
        .where(assignment.c.kind != "adjudication")
        .order_by(at, judgement.c.id)
    )  # fmt: skip


def _drawn(below: int) -> Any:
    """Knuth's multiplicative hash of the number, so that no order of the import shows in what is drawn."""
    return (item.c.id * 2654435761) % HASHED < below


def goodness(answer: Mapping[str, Any]) -> list[float | None] | None:
    """(K,) how good each output is called, in any unit: by ranks, else ratings, else thumbs. None: kept out."""
    if (ranks := answer.get("ranks")) is not None:
        return [None if rank is None else -float(rank) for rank in ranks]
    values = answer.get("ratings") or answer.get("labels")
    return None if values is None else [float(value) for value in values]


def alike(one: Mapping[str, Any], other: Mapping[str, Any], scale: int) -> float | None:
    """How far two answers to one group say the same, 0..1; None where nothing can be compared.

    Orders: the share of pairs of outputs that are ordered alike, where a tie agrees half with a decision. Ratings: one
    less their distance, as a part of the scale. Thumbs: the share of outputs that are called the same.
    """
    if one.get("ranks") and other.get("ranks"):
        return _same_order(goodness(one) or [], goodness(other) or [])
    for name, width in (("ratings", scale - 1), ("labels", 1)):
        if one.get(name) and other.get(name):
            apart = [abs(float(a) - float(b)) / width for a, b in zip(one[name], other[name], strict=True)]
            return 1 - sum(apart) / len(apart)
    return None


def _same_order(one: Sequence[float | None], other: Sequence[float | None]) -> float | None:
    kept = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    total, count = 0.0, 0
    for i, (a, b) in enumerate(kept):
        for c, d in kept[:i]:
            first, second = (a > c) - (a < c), (b > d) - (b < d)
            total += 1 - abs(first - second) / 2
            count += 1
    return total / count if count else None
