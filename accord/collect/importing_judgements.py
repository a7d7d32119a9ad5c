"""Judgements that come with groups: as those of annotators, who get an account that cannot log in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select

from accord.collect.names import key_of
from accord.collect.numbering import numbers
from accord.collect.schema import account, assignment, judgement
from accord.data.labelling_answers import UNNAMED

Row = dict[str, Any]


class Judgements:
    """Takes the judgements of group after group. count: item -> how many count to its overlap."""

    def __init__(self, connection: Connection, project_id: int, now: float) -> None:
        self.connection, self.project_id, self.now = connection, project_id, now
        self.written = self.repeated = 0
        self.count: dict[int, int] = {}
        self._accounts: dict[str, int] = {}
        self._pages: dict[int, int] = {}  # account -> the number of its last page in this project
        self._held: list[tuple[Row, list[tuple[str, int | None]]]] = []

    def add(self, item_id: int, said: Sequence[Sequence[Any]]) -> None:
        """said: annotator, whether it settles, answer, shown, active_ms of each."""
        own: dict[tuple[int, str], tuple[Row, list[tuple[str, int | None]]]] = {}
        unnamed = 0
        for annotator, settled, answer, shown, active in said:
            unnamed += annotator is None
            who = self._account(annotator, unnamed)
            kind = "adjudication" if settled else "imported"
            if (who, kind) in own:
                self.repeated += 1
                row, revisions = own[(who, kind)]
                row["shown"] = shown
                revisions.append((answer, active))
                continue
            self._pages[who] = self._page(who) + 1
            row = {"item_id": item_id, "account_id": who, "kind": kind, "shown": shown, "number": self._pages[who]}
            own[(who, kind)] = (row, [(answer, active)])
        self.count[item_id] = sum(kind == "imported" for _, kind in own)
        self._held += own.values()
        self.written += len(said)

    def write(self) -> None:
        """What was taken since the last time."""
        if self._held:
            same = {"project_id": self.project_id, "status": "done", "created": self.now, "ended": self.now}
            ids = numbers(self.connection, assignment, len(self._held))
            rows = [{"id": id, **row, **same} for id, (row, _) in zip(ids, self._held, strict=True)]
            self.connection.execute(insert(assignment), rows)
            every = [
                self._revision(id, number, answer, active)
                for id, (_, revisions) in zip(ids, self._held, strict=True)
                for number, (answer, active) in enumerate(revisions, 1)
            ]
            self.connection.execute(insert(judgement), every)
        self._held.clear()
        self.count.clear()

    def _revision(self, id: int, number: int, answer: str, active: int | None) -> Row:
        return {
            "assignment_id": id,
            "revision": number,
            "answer": answer,
            "active_ms": active,
            "submission": f"imported {id} {number}",
            "payload": hashlib.sha256(answer.encode()).hexdigest(),
            "created": self.now,
        }

    def _page(self, who: int) -> int:
        if who not in self._pages:
            of = (assignment.c.account_id == who, assignment.c.project_id == self.project_id)
            self._pages[who] = self.connection.execute(select(func.max(assignment.c.number)).where(*of)).scalar() or 0
        return self._pages[who]

    def _account(self, name: str | None, unnamed: int) -> int:
        """By name; the first, second ... without a name of any group are one account each."""
        key = f"{UNNAMED}{unnamed}" if name is None else key_of(name)
        if key not in self._accounts:
            found = self.connection.execute(select(account.c.id).where(account.c.key == key)).scalar()
            self._accounts[key] = found or self._made(key, name or f"without a name {unnamed}")
        return self._accounts[key]

    def _made(self, key: str, name: str) -> int:
        values = {"name": name, "key": key, "role": "annotator", "active": False, "created": self.now}
        (id,) = self.connection.execute(insert(account).values(values)).inserted_primary_key or (0,)
        return int(id)
