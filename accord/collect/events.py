"""What was done, by whom and when: a log that only grows, each row with the hash of the one before it.

Who changes or removes a row breaks the chain from there on. The hash of the last row, kept elsewhere (every export
names it), tells whether the end was cut off.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select, text

from accord.collect.schema import event

START = "0" * 64
CHAIN = 7205760  # the lock of PostgreSQL under which rows are added one after the other
FIELDS = ("id", "at", "actor", "kind", "project_id", "subject", "detail", "previous")


class Broken(NamedTuple):
    """Where the chain is broken, and how."""

    id: int
    what: str


def append(
    connection: Connection,
    actor: str,
    kind: str,
    subject: str,
    detail: Mapping[str, Any] | None = None,
    *,
    project: int | None = None,
    now: float | None = None,
) -> None:
    """Adds a row, within the transaction of what it tells of. Call it last: on PostgreSQL others wait for it."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({CHAIN})"))
    id, previous = _last(connection)
    row = {
        "id": id + 1,
        "at": time.time() if now is None else now,
        "actor": actor,
        "kind": kind,
        "project_id": project,
        "subject": subject,
        "detail": json.dumps(detail or {}, ensure_ascii=False, sort_keys=True),
        "previous": previous,
    }
    connection.execute(ADD, {**row, "hash": row_hash(row)})


LAST = select(event.c.id, event.c.hash).order_by(event.c.id.desc()).limit(1)
ADD = insert(event)


def _last(connection: Connection) -> tuple[int, str]:
    found = connection.execute(LAST).first()
    return (found.id, found.hash) if found else (0, START)


def last_hash(connection: Connection) -> str:
    """The hash of the newest row, in which all before it are contained."""
    return _last(connection)[1]


def row_hash(row: Mapping[str, Any]) -> str:
    """SHA-256 of a row's fields, the hash of the row before it among them."""
    return hashlib.sha256(json.dumps([row[name] for name in FIELDS], ensure_ascii=False).encode()).hexdigest()


def rows(connection: Connection) -> Iterator[dict[str, Any]]:
    """All of them, the oldest first."""
    result = connection.execution_options(yield_per=1000).execute(select(event).order_by(event.c.id))
    for row in result:
        yield dict(row._mapping)


def verify(connection: Connection) -> Broken | None:
    """The first row that is not what was written, or that is missing; None where the chain holds."""
    previous, number = START, 0
    for row in rows(connection):
        number += 1
        if row["id"] != number:
            return Broken(number, "missing")
        if row["previous"] != previous:
            return Broken(number, "does not follow the row before it")
        if row["hash"] != row_hash(row):
            return Broken(number, "was changed")
        previous = row["hash"]
    return None
