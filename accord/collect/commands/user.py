"""`accord collect user`: accounts and invitations from the command line, which need no account."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from accord.collect import accounts, projects
from accord.collect.database import Database, open_database
from accord.collect.refusals import NotThere
from accord.errors import InputError
from accord.stages.collect_configs import AccountOptions, CollectUserConfig
from accord.stages.tables import show, tell

ACTOR = "command line"


def run(config: CollectUserConfig, given: Mapping[str, object]) -> None:
    """Does what is asked. InputError: no such account, no password, the last admin."""
    asked = config.account
    database = open_database(config.database.db)
    try:
        if asked.invite is not None:
            tell(_invitation(database, asked.invite, config.project.project))
        elif asked.name is None:
            show(_everybody(database), title=f"accounts of {database.name}")
        else:
            tell([_change(database, asked.name, asked)])
    finally:
        database.close()


def _everybody(database: Database) -> list[dict[str, Any]]:
    with database.read() as connection:
        people = accounts.people(connection)
    if not people:
        raise InputError("no account yet", where=database.name, fix="accord collect user YOUR_NAME --role admin")
    return [
        {
            "name": person.name,
            "role": person.role,
            "active": "yes" if person.active else "no",
            "can log in": "yes" if person.can_log_in else "no",
            "since": datetime.fromtimestamp(person.created, UTC).strftime("%Y-%m-%d"),
        }
        for person in people
    ]


def _invitation(database: Database, role: str, project: str | None) -> list[str]:
    with database.write() as connection:
        chosen = None if project is None else projects.find(connection, project).id
        token = accounts.invite(connection, role, chosen, None, time.time(), actor=ACTOR)
    return [
        f"/join/{token}",
        f"the end of a link that makes one {role}, once, within a week: put the address of the site before it,",
        "as http://127.0.0.1:8080 where accord collect serve runs on this machine",
    ]


def _change(database: Database, name: str, asked: AccountOptions) -> str:
    with database.read() as connection:
        person = _found(connection, name)
    now = time.time()
    if person is None:
        if asked.role is None:
            raise InputError("no such account", where=name, fix="give --role admin, annotator or viewer to make it")
        password = _password(asked, name)
        with database.write() as connection:
            accounts.create_account(connection, name, asked.role, password, ACTOR, now)
        return f"{asked.role} {name} is made"
    with database.write() as connection:
        return _changed(connection, person, asked, now)


def _found(connection: Connection, name: str) -> accounts.Person | None:
    try:
        return accounts.find(connection, name)
    except NotThere:
        return None


def _changed(connection: Connection, person: accounts.Person, asked: AccountOptions, now: float) -> str:
    if asked.reset:
        accounts.set_password(connection, person.id, _password(asked, person.name), ACTOR, now)
        return f"{person.name} has a new password; all sessions are ended"
    if asked.role is not None:
        accounts.set_role(connection, person.id, asked.role, ACTOR, now)
        return f"{person.name} is {asked.role} now"
    if asked.deactivate:
        accounts.deactivate(connection, person.id, ACTOR, now)
        return f"{person.name} cannot log in any more"
    if asked.activate:
        accounts.reactivate(connection, person.id, ACTOR, now)
        return f"{person.name} can log in again"
    state = "active" if person.active else "not active"
    return f"{person.name}: {person.role}, {state} (to change: --role, --reset, --deactivate, --activate)"


def _password(asked: AccountOptions, name: str) -> str:
    """From the file, or typed twice. InputError: neither is possible."""
    if asked.password_file is not None:
        try:
            with open(asked.password_file, encoding="utf-8") as file:
                return file.readline().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            what = f"cannot be read ({getattr(error, 'strerror', None) or error})"
            raise InputError(what, where=asked.password_file, fix="give a file whose first line is it") from error
    if not sys.stdin.isatty():
        raise InputError("no terminal to ask for the password at", where="--password_file", fix="give a file with it")
    typed = getpass.getpass(f"Password of {name} (at least 12 characters): ")
    if getpass.getpass("Once more: ") != typed:
        raise InputError("the two passwords differ", where=name, fix="repeat the command")
    return typed
