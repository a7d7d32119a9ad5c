"""A labelling database that is there and of this version, opened; and what it keeps to itself."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, select

from accord.collect import schema
from accord.collect.engine import Database, connect, database_url, shown_url
from accord.collect.migrate import check_version
from accord.errors import InputError

__all__ = ["Database", "database_url", "open_database", "secret", "shown_url"]

SECRET = select(schema.setting.c.value).where(schema.setting.c.key == "secret")


def open_database(name: str, *, busy_seconds: float = 10.0) -> Database:
    """A database that is there and of this version. InputError: it is not; its last words say what to do."""
    url = database_url(name)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
        fix = f"make it: accord collect init --db {shown_url(url)}"
        raise InputError("no such database", where=shown_url(url), fix=fix)
    database = connect(url, busy_seconds)
    try:
        check_version(database)
    except BaseException:
        database.close()
        raise
    return database


def secret(connection: Connection) -> bytes:
    """From it the orders of outputs and the choice of gold groups are drawn. Made with the database."""
    return bytes.fromhex(connection.execute(SECRET).scalar_one())
