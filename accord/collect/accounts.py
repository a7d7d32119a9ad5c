"""Accounts: made by an admin's invitation or on the command line, never by themselves; none is there from the start."""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from accord.collect import events, limits, names, passwords, projects, sessions
from accord.collect.database import Database
from accord.collect.passwords import Hashed
from accord.collect.refusals import Conflict, Invalid, NotKnown, NotThere
from accord.collect.roles import ROLES, Account, Role
from accord.collect.schema import account, invitation, token

INVITED = 7 * 86400.0  # seconds for which an invitation holds


class Person(NamedTuple):
    """An account as the list of people shows it. can_log_in: it has a password (who was imported has none)."""

    id: int
    name: str
    role: Role
    active: bool
    sensitive: bool
    can_log_in: bool
    created: float


class Invitation(NamedTuple):
    """An invitation that nobody has used yet; the link itself is not kept."""

    id: int
    role: Role
    project_id: int | None
    made_by: int | None
    created: float
    expires: float


COLUMNS = (
    account.c.id,
    account.c.name,
    account.c.role,
    account.c.active,
    account.c.sensitive,
    account.c.password.is_not(None),
    account.c.created,
)


def people(connection: Connection) -> list[Person]:
    """Everybody, by name."""
    return [Person(*row) for row in connection.execute(select(*COLUMNS).order_by(account.c.key))]


def find(connection: Connection, which: int | str) -> Person:
    """By number or name. NotThere: there is none."""
    condition = account.c.id == which if isinstance(which, int) else account.c.key == names.key_of(which)
    row = connection.execute(select(*COLUMNS).where(condition)).first()
    if row is None:
        raise NotThere("no such account", where=str(which))
    return Person(*row)


def create_account(
    connection: Connection,
    name: str,
    role: str,
    password: str | None,
    actor: str,
    now: float,
    *,
    imported: bool = False,
) -> int:
    """A new account. password: as typed, or Hashed; None: it cannot log in. Invalid, Conflict: what is wrong, by field.

    imported: one among many that a file names; the log tells of the import, not of each.
    """
    name = names.checked(name)
    if role not in ROLES:
        raise Invalid(f"give one of {', '.join(ROLES)}", where="role", fields={"role": "choose one of these"})
    stored = None if password is None else _hashed(password, name)
    values = {"name": name, "key": names.key_of(name), "role": role, "password": stored, "created": now}
    taken = "there is an account of this name"
    if connection.execute(select(account.c.id).where(account.c.key == values["key"])).first():
        raise Conflict(taken, where=name, fix="take another name", fields={"name": taken})
    try:
        (id,) = connection.execute(insert(account).values(values)).inserted_primary_key or (0,)
    except IntegrityError:  # PostgreSQL: another server made it in the same moment
        raise Conflict(taken, where=name, fix="take another name", fields={"name": taken}) from None
    if not imported:
        events.append(connection, actor, "account created", name, {"role": role}, now=now)
    return int(id)


def _hashed(password: str, name: str) -> str:
    if isinstance(password, Hashed):
        return password
    passwords.check_password(password, name)
    return passwords.hash_password(password)


def authenticate(database: Database, name: str, password: str, address: str, now: float) -> Account:
    """Who logs in. NotKnown: wrong; TooMany: too often wrong. It takes as long whether or not the name is known."""
    key = names.key_of(name)[: 4 * names.LONGEST]
    keys = limits.login_keys(key, address)
    with database.write() as connection:
        limits.count(connection, keys, now)
        these = select(account).where(account.c.key == key, account.c.active)
        row = connection.execute(these).first()
    stored = None if row is None else row.password
    if not passwords.is_right(stored, password) or row is None:
        raise NotKnown("name or password is wrong", fix="try again, or ask an admin for a new password")
    assert stored is not None  # or it were not right
    newer = passwords.hash_password(password) if passwords.is_outdated(stored) else None
    with database.write() as connection:
        limits.succeeded(connection, keys, now)
        if newer is not None:
            same = (account.c.id == row.id, account.c.password == stored)
            connection.execute(update(account).where(*same).values(password=newer))
    return Account(row.id, row.name, row.role, bool(row.sensitive))


def password_is_right(database: Database, account_id: int, password: str, now: float) -> bool:
    """Whether it is this account's, asked before it is changed. TooMany: too often wrong."""
    keys = {f"password {account_id}": limits.OF_BOTH}
    with database.write() as connection:
        limits.count(connection, keys, now)
        stored = connection.execute(select(account.c.password).where(account.c.id == account_id)).scalar_one()
    if not passwords.is_right(stored, password):
        return False
    with database.write() as connection:
        limits.succeeded(connection, keys, now)
    return True


def set_password(
    connection: Connection, account_id: int, password: str, actor: str, now: float, *, keep: str | None = None
) -> None:
    """A new password (as typed, or Hashed). Every session ends, but that of the hash `keep`."""
    person = find(connection, account_id)
    stored = _hashed(password, person.name)
    connection.execute(update(account).where(account.c.id == account_id).values(password=stored))
    sessions.end_all(connection, account_id, but=keep)
    events.append(connection, actor, "password changed", person.name, now=now)


def set_role(connection: Connection, account_id: int, role: str, actor: str, now: float) -> None:
    """Another role; the account's sessions end. Conflict: it is the last admin."""
    if role not in ROLES:
        raise Invalid(f"give one of {', '.join(ROLES)}", where="role", fields={"role": "choose one of these"})
    person = _guarded(connection, account_id, stays=role == "admin")
    if person.role == role:
        return
    connection.execute(update(account).where(account.c.id == account_id).values(role=role))
    _forget(connection, account_id)
    detail = {"before": person.role, "after": role}
    events.append(connection, actor, "role changed", person.name, detail, now=now)


def deactivate(connection: Connection, account_id: int, actor: str, now: float) -> None:
    """No login, no session, no token any more; what was judged stays. Conflict: it is the last admin."""
    person = _guarded(connection, account_id, stays=False)
    if not person.active:
        return
    connection.execute(update(account).where(account.c.id == account_id).values(active=False))
    connection.execute(delete(token).where(token.c.account_id == account_id))
    _forget(connection, account_id)
    events.append(connection, actor, "account deactivated", person.name, now=now)


def reactivate(connection: Connection, account_id: int, actor: str, now: float) -> None:
    """It can log in again."""
    person = find(connection, account_id)
    if not person.active:
        connection.execute(update(account).where(account.c.id == account_id).values(active=True))
        events.append(connection, actor, "account reactivated", person.name, now=now)


def set_sensitive(connection: Connection, account_id: int, shown: bool, actor: str, now: float) -> None:
    """Whether groups that are marked as sensitive are shown to this account."""
    person = find(connection, account_id)
    if person.sensitive != shown:
        connection.execute(update(account).where(account.c.id == account_id).values(sensitive=shown))
        events.append(connection, actor, "sensitive groups", person.name, {"shown": shown}, now=now)


def _guarded(connection: Connection, account_id: int, *, stays: bool) -> Person:
    """Who it is; Conflict if it is the last admin and would not stay one. Locked, so that two admins cannot both go."""
    admins = select(account.c.id).where(account.c.role == "admin", account.c.active, account.c.password.is_not(None))
    left = {row.id for row in connection.execute(admins.with_for_update())} - {account_id}
    person = find(connection, account_id)
    if person.role == "admin" and person.active and not stays and not left:
        fix = "make somebody else an admin first"
        raise Conflict("is the last admin who can log in", where=person.name, fix=fix)
    return person


def _forget(connection: Connection, account_id: int) -> None:
    """What was granted before the role changed: sessions, and invitations that are not used yet."""
    sessions.end_all(connection, account_id)
    connection.execute(delete(invitation).where(invitation.c.made_by == account_id, invitation.c.used_by.is_(None)))


def invite(
    connection: Connection, role: str, project_id: int | None, made_by: int | None, now: float, *, actor: str = ""
) -> str:
    """A new invitation: the last part of the link /join/..., the only time that it can be read."""
    if role not in ROLES:
        raise Invalid(f"give one of {', '.join(ROLES)}", where="role", fields={"role": "choose one of these"})
    name = "" if project_id is None else projects.find(connection, project_id).name
    actor = actor or ("command line" if made_by is None else find(connection, made_by).name)
    text = secrets.token_urlsafe(32)
    values = {"role": role, "project_id": project_id, "made_by": made_by, "created": now, "expires": now + INVITED}
    connection.execute(insert(invitation).values(hash=sessions.hash_of(text), **values))
    events.append(connection, actor, "invitation made", role, {"project": name}, project=project_id, now=now)
    return text


def invitations(connection: Connection, now: float) -> list[Invitation]:
    """Those that can still be used, the newest first."""
    columns = [invitation.c[name] for name in Invitation._fields]
    these = select(*columns).where(invitation.c.used_by.is_(None), invitation.c.expires > now)
    return [Invitation(*row) for row in connection.execute(these.order_by(invitation.c.id.desc()))]


def invited(connection: Connection, text: str, now: float) -> Any:
    """The row of an invitation that can be used. NotThere: used, expired, withdrawn, or none of ours."""
    holds = (invitation.c.used_by.is_(None), invitation.c.expires > now)
    these = select(invitation).where(invitation.c.hash == sessions.hash_of(text), *holds)
    row = connection.execute(these).first()
    if row is None:
        what = "this invitation does not hold: it was used, withdrawn, or is older than 7 days"
        raise NotThere(what, fix="ask for a new one")
    return row


def withdraw(connection: Connection, id: int, actor: str, now: float) -> None:
    """An invitation that is not to be used. NotThere: there is none."""
    these = (invitation.c.id == id, invitation.c.used_by.is_(None))
    found = connection.execute(select(invitation.c.role, invitation.c.project_id).where(*these)).first()
    if found is None:
        raise NotThere("no such invitation", where=str(id))
    connection.execute(delete(invitation).where(*these))
    events.append(connection, actor, "invitation withdrawn", found.role, project=found.project_id, now=now)


def accept(connection: Connection, text: str, name: str, password: str, now: float) -> Account:
    """The account that an invitation makes, once. NotThere: it does not hold; Invalid, Conflict: name or password."""
    row = invited(connection, text, now)
    id = create_account(connection, name, row.role, password, "invitation", now)
    mine = update(invitation).where(invitation.c.id == row.id, invitation.c.used_by.is_(None))
    if connection.execute(mine.values(used_by=id)).rowcount != 1:
        raise NotThere("this invitation was used a moment ago", fix="ask for a new one")
    if row.project_id is not None:
        projects.add_member(connection, row.project_id, id)
    person = find(connection, id)
    return Account(person.id, person.name, person.role, person.sensitive)
