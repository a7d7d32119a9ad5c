"""A labelling database, SQLite or PostgreSQL: who reads sees one moment of it, who writes is alone or waits.

SQLite is enough for a team if every transaction that writes begins with BEGIN IMMEDIATE (measured: a plain BEGIN gave
149,412 times "database is locked" where this gave none), if readers do not block writers (WAL), and if what was
acknowledged is on the disk (synchronous FULL). Within one process writers queue at a lock: SQLite's own waiting sleeps
for longer and longer, and is unfair.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from accord.collect.refusals import Busy, Full
from accord.errors import InputError, IntegrityError, ServiceError, StorageError

LOCKED = (
    "database is locked",
    "database table is locked",
    "lock timeout",
    "could not obtain lock",
    "deadlock detected",
)
FULL = ("database or disk is full", "disk i/o error", "no space left", "could not extend file", "readonly database")
BROKEN = ("malformed", "not a database", "file is encrypted")
FIX = "give sqlite:///prefs.db or postgresql://user@host/database"


def database_url(name: str) -> URL:
    """The address of a database; a bare path is a file of SQLite. InputError: no such kind of database."""
    if "://" not in name:
        if not name or name.endswith("/"):
            raise InputError("no database", where=name or "--db", fix=FIX)
        name = f"sqlite:///{name}"
    try:
        url = make_url(name)
    except ArgumentError:
        raise InputError("no address of a database", where="--db", fix=FIX) from None
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if url.drivername != "sqlite" or not url.database or url.database == ":memory:":
        raise InputError(f"no address of a database that can be used ({url.drivername})", where="--db", fix=FIX)
    return url


def shown_url(url: URL) -> str:
    """Without the password: what messages and logs may say."""
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


class Database:
    """Connections to one database. Made by open_database or create_database; no work is done here."""

    def __init__(self, url: URL, engine: Engine, busy_seconds: float) -> None:
        self.url, self.engine, self.busy_seconds = url, engine, busy_seconds
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._turn = threading.Lock()

    @property
    def name(self) -> str:
        return shown_url(self.url)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One moment of the database, however long the reading takes."""
        with self._told(), self.engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            else:
                connection = connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True, postgresql_deferrable=False
                )
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """All of it or nothing, acknowledged when it is on the disk. Busy: others wrote for too long."""
        with self._told(), self._alone(), self.engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(self.busy_seconds * 1000)}")
            yield connection
            connection.commit()  # leaving without it rolls back

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Within this process, where it is SQLite: one writer after the other."""
        if not self.is_sqlite:
            yield
            return
        if not self._turn.acquire(timeout=self.busy_seconds):
            raise Busy("the database is busy", where=self.name, fix="try again in a moment")
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the driver says, as one of our errors."""
        try:
            yield
        except DBAPIError as error:
            said = str(error.orig or error).strip().split("\n")[0]
            if any(words in said.lower() for words in LOCKED):
                raise Busy("the database is busy", where=self.name, fix="try again in a moment") from error
            if any(words in said.lower() for words in FULL):
                raise Full(
                    f"the database cannot be written ({said})", where=self.name, fix="free some space"
                ) from error
            if any(words in said.lower() for words in BROKEN):
                fix = "take a copy of before, or save what sqlite3's .recover finds"
                raise IntegrityError(f"is damaged ({said})", where=self.name, fix=fix) from error
            if isinstance(error, OperationalError) or error.connection_invalidated:
                raise ServiceError(f"cannot be reached ({said})", where=self.name, fix="check the database") from error
            raise

    def close(self) -> None:
        self.engine.dispose()


def connect(url: URL, busy_seconds: float = 10.0) -> Database:
    """Connections to what may not be there yet. ServiceError: it cannot be reached."""
    if url.get_backend_name() == "sqlite":
        arguments = {"timeout": busy_seconds, "check_same_thread": False, "isolation_level": None}
        engine = create_engine(url, pool_size=16, max_overflow=64, pool_timeout=busy_seconds, connect_args=arguments)
        event.listen(engine, "connect", _sqlite_connection)
    else:
        engine = create_engine(url, pool_size=16, max_overflow=16, pool_timeout=busy_seconds, pool_pre_ping=True)
    return Database(url, engine, busy_seconds)


def _sqlite_connection(connection: Any, record: object) -> None:
    """WAL is set once, when the database is made: set by several at once it was itself "locked"."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA cache_size = -32000")
    cursor.close()


def check_local(path: Path) -> None:
    """StorageError for a folder of a network, where SQLite's locks do not hold."""
    kinds = {"nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs"}
    found, kind = "", ""
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return
    inside = os.path.realpath(path.parent)
    for line in mounts:
        _, point, what, *_ = line.split(" ")
        if (inside == point or inside.startswith(point.rstrip("/") + "/")) and len(point) > len(found):
            found, kind = point, what
    if kind in kinds:
        fix = "give a folder of this machine, or a PostgreSQL database"
        raise StorageError(f"lies on a network ({kind}), where SQLite's locks do not hold", where=str(path), fix=fix)
