"""From any version of a labelling database to this one, with every row kept: alembic's scripts in migrations/.

A new database goes the same way, so there is one description of the tables that is tried each time. SQLite is copied
first, where there is something to lose. Each step is one transaction: killed in the middle, the next `init` goes on.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from accord.collect import schema
from accord.collect.engine import Database, check_local, connect, database_url, shown_url
from accord.errors import InputError, StorageError

HERE = Path(__file__).parent / "migrations"


def head() -> str:
    """The version that this program works with."""
    found = _scripts().get_current_head()
    assert found is not None
    return found


def version(connection: Connection) -> str | None:
    """The version of a database; none where it holds no tables of ours."""
    return MigrationContext.configure(connection).get_current_revision()


def version_of(name: str) -> str | None:
    """The version of the database of this address; none where there is none yet."""
    url = database_url(name)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
        return None
    database = connect(url)
    try:
        with database.read() as connection:
            return version(connection)
    finally:
        database.close()


def check_version(database: Database) -> None:
    """InputError where a database is of another version than this program."""
    with database.read() as connection:
        found = version(connection)
    if found == head():
        return
    if found is None:
        fix = f"make it: accord collect init --db {database.name}"
        raise InputError("holds no labelling database", where=database.name, fix=fix)
    if found not in [script.revision for script in _scripts().walk_revisions()]:
        raise InputError(f"is of a newer version ({found})", where=database.name, fix="use a newer version of Accord")
    fix = f"accord collect init --db {database.name} (it keeps every row, and a copy of the file)"
    raise InputError(f"is of an older version ({found})", where=database.name, fix=fix)


def create_database(name: str, *, to: str = "head") -> Database:
    """A new database, or one of an older version brought to this one. StorageError: it cannot be written."""
    url = database_url(name)
    if url.get_backend_name() == "sqlite":
        _prepare_file(Path(str(url.database)), shown_url(url))
    database = connect(url, busy_seconds=60.0)
    try:
        with database.read() as connection:
            before = version(connection)
        if before not in (None, head()) and database.is_sqlite:
            _copy(database, str(before))
        _upgrade(database, to)
        _make_secret(database)
    except BaseException:
        database.close()
        raise
    return database


def _prepare_file(path: Path, shown: str) -> None:
    """Its folder, its kind of journal: set once, here."""
    import sqlite3

    if not path.parent.is_dir():
        raise InputError("no such folder", where=str(path.parent), fix="make it, or give another path")
    check_local(path)
    try:
        connection = sqlite3.connect(path, timeout=60)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
    except sqlite3.DatabaseError as error:
        raise StorageError(f"cannot be used ({error})", where=shown, fix="give another file") from error
    path.chmod(0o600)  # it holds names, password hashes and what people wrote


def _copy(database: Database, before: str) -> None:
    """Beside it, as it was; under its final name it is whole. StorageError: there is no room."""
    path = Path(str(database.url.database))
    part = path.with_name(f"{path.name}.{before}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    try:
        with database.engine.connect() as connection:
            connection.execute(text("VACUUM INTO :path"), {"path": str(part)})
        part.chmod(0o600)
        part.rename(path.with_name(f"{path.name}.{before}.{time.time_ns() // 1000}.backup"))
    except (DBAPIError, OSError) as error:
        said = str(getattr(error, "orig", None) or error)
        raise StorageError(f"cannot be copied first ({said})", where=str(path), fix="free some space") from error
    finally:
        part.unlink(missing_ok=True)  # interrupted, too


def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(HERE))
    return ScriptDirectory.from_config(config)


def _upgrade(database: Database, to: str) -> None:
    """Step by step, each a transaction of its own, with the version that it leads to."""
    scripts = _scripts()
    steps = list(reversed(list(scripts.iterate_revisions(scripts.get_revision(to).revision, "base"))))
    for script in steps:
        with database.write() as connection:
            if not database.is_sqlite:  # two servers that start at once: one goes first
                connection.execute(text("SELECT pg_advisory_xact_lock(7205759)"))
            found = version(connection)
            done = [one.revision for one in scripts.iterate_revisions(found, "base")] if found else []
            if script.revision in done:
                continue
            _step(connection, scripts, script.revision)


def _step(connection: Connection, scripts: ScriptDirectory, to: str) -> None:
    """One script. Alembic is told of our transaction and opens none of its own."""

    def upgrade(revision: object, context: object) -> object:
        return scripts._upgrade_revs(to, revision)  # type: ignore[arg-type]

    with EnvironmentContext(Config(), scripts, fn=upgrade, destination_rev=to) as environment:
        environment.configure(
            connection=connection, target_metadata=schema.TABLES, render_as_batch=True, transactional_ddl=False
        )
        environment.run_migrations()


def _make_secret(database: Database) -> None:
    with database.write() as connection:
        query = select(schema.setting.c.value).where(schema.setting.c.key == "secret")
        if connection.execute(query).first() is not None:
            return
        try:
            connection.execute(schema.setting.insert().values(key="secret", value=secrets.token_hex(32)))
        except IntegrityError:  # another server was first
            connection.rollback()
