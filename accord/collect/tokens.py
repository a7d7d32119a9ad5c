"""Tokens, with which programs use the API in the name of an account. Each is shown once; its hash is kept."""

from __future__ import annotations

import secrets
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select

from accord.collect import events, names
from accord.collect.refusals import Conflict, Invalid, NotAllowed, NotThere
from accord.collect.roles import SCOPES, Account, Scope
from accord.collect.schema import account, token
from accord.collect.sessions import hash_of

PREFIX = "accord_"  # by which a token that leaked is recognised
MOST = 50  # of one account
DAYS = (30, 90, 365)


class Token(NamedTuple):
    """What is known of a token: not the token. expires: None for never."""

    id: int
    name: str
    scope: Scope
    created: float
    expires: float | None


FIND = (
    select(token.c.scope, account.c.id, account.c.name, account.c.role, account.c.sensitive)
    .join(account, account.c.id == token.c.account_id)
    .where(
        token.c.hash == bindparam("hash"),
        or_(token.c.expires.is_(None), token.c.expires > bindparam("now")),
        account.c.active,
    )
)


def make(
    connection: Connection, owner: Account, name: str, scope: str, now: float, expires: float | None = None
) -> str:
    """A new token: the only time that it can be read. NotAllowed: its scope goes beyond the account's role."""
    name = names.checked(name)
    if scope not in SCOPES["admin"]:
        raise Invalid("give read, label or admin", where="scope", fields={"scope": "choose one of these"})
    if scope not in SCOPES[owner.role]:
        raise NotAllowed(f"a token of scope {scope} is more than the role {owner.role} may do")
    if expires is not None and expires <= now:
        raise Invalid("has passed", where="expires", fields={"expires": "give a time to come"})
    if connection.execute(select(func.count()).where(token.c.account_id == owner.id)).scalar_one() >= MOST:
        raise Conflict(f"there are {MOST} tokens already", fix="revoke those that are no longer used")
    text = PREFIX + secrets.token_urlsafe(32)
    values = {"account_id": owner.id, "name": name, "scope": scope, "created": now, "expires": expires}
    connection.execute(insert(token).values(hash=hash_of(text), **values))
    events.append(connection, owner.name, "token made", owner.name, {"token": name, "scope": scope}, now=now)
    return text


def find(connection: Connection, text: str, now: float) -> tuple[Account, Scope] | None:
    """Whose token it is and what it may do: no more than the role of its account allows today."""
    row = connection.execute(FIND, {"hash": hash_of(text), "now": now}).first()
    if row is None:
        return None
    owner = Account(row.id, row.name, row.role, bool(row.sensitive))
    allowed = SCOPES[owner.role]
    return owner, row.scope if row.scope in allowed else allowed[-1]


def tokens(connection: Connection, account_id: int) -> list[Token]:
    """Those of an account, the newest first."""
    columns = (token.c.id, token.c.name, token.c.scope, token.c.created, token.c.expires)
    these = select(*columns).where(token.c.account_id == account_id).order_by(token.c.id.desc())
    return [Token(*row) for row in connection.execute(these)]


def revoke(connection: Connection, owner: Account, id: int, now: float) -> None:
    """It is worth nothing from now on. NotThere: this account has no such token."""
    these = (token.c.id == id, token.c.account_id == owner.id)
    found = connection.execute(select(token.c.name).where(*these)).first()
    if found is None:
        raise NotThere("no such token", where=str(id))
    connection.execute(delete(token).where(*these))
    events.append(connection, owner.name, "token revoked", owner.name, {"token": found.name}, now=now)
