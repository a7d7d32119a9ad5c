"""Who is logged in: rows in the database, ended at any moment. The browser holds a number that nobody can guess.

Only its SHA-256 is kept: who reads the database cannot log in with it. (The number has 256 bits, so a fast hash is
enough.)
"""

from __future__ import annotations

import hashlib
import secrets
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from accord.collect.roles import Account
from accord.collect.schema import account, session

IDLE = 12 * 3600.0  # seconds without a request
LONGEST = 7 * 86400.0  # seconds after the login
TOUCH = 60.0  # `seen` is written no more often than this


class Session(NamedTuple):
    """A session that holds. csrf: what forms and programs of the page must send along."""

    hash: str
    account: Account
    csrf: str
    seen: float


FIND = (
    select(session.c.csrf, session.c.seen, account.c.id, account.c.name, account.c.role, account.c.sensitive)
    .join(account, account.c.id == session.c.account_id)
    .where(
        session.c.hash == bindparam("hash"),
        session.c.expires > bindparam("now"),
        session.c.seen > bindparam("idle"),
        account.c.active,
    )
)


def hash_of(secret: str) -> str:
    """What is kept of a cookie, a token or an invitation."""
    return hashlib.sha256(secret.encode()).hexdigest()


def start(connection: Connection, account_id: int, now: float) -> str:
    """A new session; what the cookie is to hold. Those of everybody that have ended are swept."""
    connection.execute(delete(session).where((session.c.expires <= now) | (session.c.seen <= now - IDLE)))
    cookie = secrets.token_urlsafe(32)
    values = {
        "hash": hash_of(cookie),
        "account_id": account_id,
        "csrf": secrets.token_urlsafe(32),
        "created": now,
        "seen": now,
        "expires": now + LONGEST,
    }
    connection.execute(insert(session).values(values))
    return cookie


def find(connection: Connection, cookie: str, now: float) -> Session | None:
    """Whose session it is; None: there is none, it has ended, or its account may no longer log in."""
    hash = hash_of(cookie)
    row = connection.execute(FIND, {"hash": hash, "now": now, "idle": now - IDLE}).first()
    if row is None:
        return None
    return Session(hash, Account(row.id, row.name, row.role, bool(row.sensitive)), row.csrf, row.seen)


def touch(connection: Connection, hash: str, now: float) -> None:
    """It is in use."""
    connection.execute(update(session).where(session.c.hash == hash).values(seen=now))


def end(connection: Connection, cookie: str) -> None:
    """Logged out: the cookie is worth nothing from now on."""
    connection.execute(delete(session).where(session.c.hash == hash_of(cookie)))


def end_all(connection: Connection, account_id: int, *, but: str | None = None) -> int:
    """Ends every session of an account, except that of the hash `but`; how many."""
    these = delete(session).where(session.c.account_id == account_id)
    if but is not None:
        these = these.where(session.c.hash != but)
    return connection.execute(these).rowcount
