"""The web hook: an address that an admin gave is told of each group that has all its judgements.

What is to be told lies in the database (`outbox`), written in the transaction that completed the group; so it survives
a crash, and is told at least once. No texts are sent, no redirect is followed, no answer is read. The receiver can
check who speaks: the header X-Accord-Signature holds the HMAC-SHA256 of the body under the project's key.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import logging
import ssl
import threading
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import Connection, delete, select, update

from accord.collect import events, projects
from accord.collect.database import Database, secret
from accord.collect.schema import outbox
from accord.errors import AccordError

SIGNATURE = "X-Accord-Signature"
PATIENCE = 10.0  # seconds for one call
WAITS = (10.0, 60.0, 300.0, 1800.0, 7200.0, 21600.0, 43200.0)  # seconds until the next try
LOOK = 2.0  # seconds between two looks at the outbox
AT_ONCE = 20  # calls between two looks

log = logging.getLogger("accord.collect")


class Call(NamedTuple):
    """One thing to be told."""

    id: int
    project: int
    body: bytes
    tries: int


def key(database_secret: bytes, project_id: int) -> str:
    """The key of a project's signatures, to be given to the receiver."""
    return hmac.new(database_secret, f"hook:{project_id}".encode(), hashlib.sha256).hexdigest()


def signature(key: str, body: bytes) -> str:
    """sha256=... as the header holds it."""
    return f"sha256={hmac.new(key.encode(), body, hashlib.sha256).hexdigest()}"


def take(connection: Connection, now: float) -> Call | None:
    """The next one that is due. It is due again later: if this process dies, somebody else tells it."""
    due = select(outbox).where(outbox.c.due <= now).order_by(outbox.c.due).limit(1)
    if connection.dialect.name == "postgresql":
        due = due.with_for_update(skip_locked=True)
    row = connection.execute(due).first()
    if row is None:
        return None
    later = now + WAITS[min(row.tries, len(WAITS) - 1)]
    connection.execute(update(outbox).where(outbox.c.id == row.id).values(tries=row.tries + 1, due=later))
    return Call(row.id, row.project_id, row.body.encode(), row.tries + 1)


def tell(address: str, body: bytes, signed: str) -> str | None:
    """Calls an address, once. What went wrong; None where it was taken (2xx)."""
    parts = urlsplit(address)
    made: http.client.HTTPConnection
    try:
        port = parts.port
        if parts.scheme == "https":
            made = http.client.HTTPSConnection(
                parts.hostname or "", port, timeout=PATIENCE, context=ssl.create_default_context()
            )
        else:
            made = http.client.HTTPConnection(parts.hostname or "", port, timeout=PATIENCE)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Content-Type": "application/json", "User-Agent": "accord", SIGNATURE: signed}
        try:
            made.request("POST", path, body, headers)
            status = made.getresponse().status
        finally:
            made.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return str(error) or type(error).__name__
    return None if 200 <= status < 300 else f"it answered {status}"


def work(database: Database, now: float) -> bool:
    """Tells one thing that is due; whether there was one."""
    if not _is_due(database, now):  # without a transaction that writes: this is asked all the time
        return False
    with database.write() as connection:
        call = take(connection, now)
        if call is None:
            return False
        project = projects.find(connection, call.project)
        signed = signature(key(secret(connection), call.project), call.body)
    address = project.settings.hook
    failed = tell(address, call.body, signed) if address else None
    if failed:
        log.warning("web hook of project %r: %s (try %d)", project.name, failed, call.tries)
    if failed and call.tries < len(WAITS) + 1:
        return True
    with database.write() as connection:
        connection.execute(delete(outbox).where(outbox.c.id == call.id))
        if failed:
            detail = {"tries": call.tries, "failed": failed[:200]}
            events.append(connection, "server", "web hook given up", project.name, detail, project=project.id)
    return True


def _is_due(database: Database, now: float) -> bool:
    with database.read() as connection:
        return connection.execute(select(outbox.c.id).where(outbox.c.due <= now).limit(1)).first() is not None


class Hooks:
    """A thread that tells what is due until it is stopped."""

    def __init__(self, database: Database) -> None:
        self._database, self._ended = database, threading.Event()
        self._thread = threading.Thread(target=self._run, name="web hooks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is being told is told to its end, as far as that goes in time."""
        self._ended.set()
        self._thread.join(PATIENCE + 1)

    def _run(self) -> None:
        while not self._ended.wait(LOOK):
            try:
                for _ in range(AT_ONCE):
                    if self._ended.is_set() or not work(self._database, time.time()):
                        break
            except AccordError as error:  # the database is busy or away: it is looked at again
                log.warning("web hooks: %s", error)
