"""From every version to this one, on SQLite and PostgreSQL: no row is lost or altered, also where it was killed."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, MetaData, insert, inspect, select

from accord.cli import main
from accord.collect.engine import connect
from accord.collect.engine import database_url as address_of
from accord.collect.migrate import create_database, head, version, version_of
from accord.collect.serve import Serving, check
from accord.errors import InputError

TEXTS = (
    "é ü ß 漢字 🙂",
    " blanks at the ends ",
    "tab\tand\r\nlines\n",
    "'quotes\" and \\",
    "\u202eright to left",
    "x" * 5000,
)
# Killed after the n-th statement of the scripts, with nothing said to anybody.
KILLED = """
import os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from accord.collect.migrate import create_database
left = [int(sys.argv[2])]
@event.listens_for(Engine, "after_cursor_execute")
def count(connection, cursor, statement, *more):
    if statement.lstrip().upper().startswith(("CREATE", "ALTER", "INSERT", "UPDATE")):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
create_database(sys.argv[1]).close()
print("done")
"""


def filled_first_version(url: str) -> None:
    """A row or more in each table that the first version had."""
    create_database(url, to="0001").close()
    database = connect(address_of(url))
    tables = MetaData()
    with database.write() as connection:
        tables.reflect(connection)
        rows: dict[str, list[dict[str, object]]] = {
            "account": [
                {"id": i, "name": text[:50], "key": f"k{i}", "role": "annotator", "active": i > 2, "created": i / 9}
                for i, text in enumerate(TEXTS, 1)
            ],
            "project": [{"id": 1, "name": "p", "settings": json.dumps({"overlap": 3}), "version": 4, "created": 1.5}],
            "item": [
                {"id": i, "project_id": 1, "key": f"g{i}", "position": i / 3, "prompt": json.dumps(text), "k": 2,
                 "taken": 1, "wanted": 3, "skips": i}
                for i, text in enumerate(TEXTS, 1)
            ],
            "output": [
                {"item_id": i, "place": place, "content": text, "model": None if place else "m"}
                for i, text in enumerate(TEXTS, 1)
                for place in (0, 1)
            ],
            "assignment": [
                {"id": i, "item_id": i, "account_id": i, "project_id": 1, "kind": "label", "status": "done",
                 "shown": "[1, 0]", "number": 1, "created": 2.0, "ended": 3.25}
                for i in range(1, len(TEXTS) + 1)
            ],
            "judgement": [
                {"assignment_id": i, "revision": 1, "answer": json.dumps({"notes": text}), "submission": f"s{i}",
                 "payload": "p", "created": 3.25}
                for i, text in enumerate(TEXTS, 1)
            ],
            "draft": [{"assignment_id": 1, "version": 2, "answer": "{}", "saved": 1.0}],
            "event": [
                {"id": 1, "at": 1.0, "actor": "a", "kind": "made", "subject": "s", "detail": "{}", "previous": "",
                 "hash": "h"}
            ],
            "failure": [{"key": "k", "at": 1.0}],
            "invitation": [{"hash": "h", "role": "viewer", "created": 1.0, "expires": 2.0}],
            "member": [{"project_id": 1, "account_id": 1, "categories": '["chat"]'}],
            "session": [{"hash": "h", "account_id": 1, "csrf": "c", "created": 1.0, "seen": 1.0, "expires": 2.0}],
            "token": [{"hash": "h", "account_id": 1, "name": "n", "scope": "read", "created": 1.0}],
        }  # fmt: skip
        for name, given in rows.items():
            connection.execute(insert(tables.tables[name]), given)
        empty = set(tables.tables) - set(rows) - {"alembic_version", "setting"}
        assert not empty, f"tables without a row: {empty}"
    database.close()


def checksums(url: str, columns: dict[str, list[str]] | None = None) -> dict[str, str]:
    """Of the rows of each table, in the columns given."""
    database = connect(address_of(url))
    tables = MetaData()
    found = {}
    with database.read() as connection:
        tables.reflect(connection)
        for name, names in (columns or columns_of(connection)).items():
            query = select(*(tables.tables[name].c[one] for one in names))
            rows = sorted(repr(tuple(row)) for row in connection.execute(query))
            found[name] = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    database.close()
    return found


def columns_of(connection: Connection) -> dict[str, list[str]]:
    look = inspect(connection)
    return {
        name: [column["name"] for column in look.get_columns(name)]
        for name in look.get_table_names()
        if name != "alembic_version"
    }


def columns_at(url: str) -> dict[str, list[str]]:
    database = connect(address_of(url))
    with database.read() as connection:
        found = columns_of(connection)
    database.close()
    return found


def test_every_row_is_kept(database_url: str) -> None:
    filled_first_version(database_url)
    columns = columns_at(database_url)
    before = checksums(database_url, columns)
    create_database(database_url).close()
    assert version_of(database_url) == head() != "0001"
    assert checksums(database_url, columns) == before
    create_database(database_url).close()  # again: nothing to do
    assert checksums(database_url, columns) == before


def test_sqlite_is_copied_first(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'prefs.db'}"
    filled_first_version(url)
    before = checksums(url)
    create_database(url).close()
    (copy,) = tmp_path.glob("prefs.db.0001.*.backup")
    assert checksums(f"sqlite:///{copy}") == before
    assert copy.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("after", [1, 2, 3])
def test_killed_in_the_middle_it_is_run_again(database_url: str, after: int) -> None:
    filled_first_version(database_url)
    columns = columns_at(database_url)
    before = checksums(database_url, columns)
    ended = subprocess.run([sys.executable, "-c", KILLED, database_url, str(after)], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, f"not killed: {ended.stdout}{ended.stderr}"
    assert version_of(database_url) == "0001"  # a step is done as a whole, or not at all
    assert checksums(database_url, columns) == before
    create_database(database_url).close()
    assert version_of(database_url) == head()
    assert checksums(database_url, columns) == before


def test_killed_while_it_is_made(database_url: str) -> None:
    for after in (1, 7, 25):
        ended = subprocess.run([sys.executable, "-c", KILLED, database_url, str(after)], capture_output=True, text=True)
        assert ended.returncode == -signal.SIGKILL, f"not killed: {ended.stdout}{ended.stderr}"
    create_database(database_url).close()
    assert version_of(database_url) == head()


def test_several_at_once_make_one(database_url: str) -> None:
    program = "import sys; from accord.collect.migrate import create_database; create_database(sys.argv[1]).close()"
    if database_url.startswith("postgresql"):
        filled_first_version(database_url)
    running = [subprocess.Popen([sys.executable, "-c", program, database_url]) for _ in range(3)]
    assert [one.wait(120) for one in running] == [0, 0, 0]
    database = connect(address_of(database_url))
    with database.read() as connection:
        assert version(connection) == head()
        tables = MetaData()
        tables.reflect(connection, only=["setting"])
        keys = connection.execute(select(tables.tables["setting"].c.key)).scalars().all()
    database.close()
    assert keys == ["secret"]


def test_an_older_one_is_not_served_and_a_newer_one_not_touched(database_url: str) -> None:
    filled_first_version(database_url)
    with pytest.raises(InputError, match="older version") as told:
        check(Serving(database_url))
    assert "accord collect init" in told.value.fix
    database = connect(address_of(database_url))
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(InputError, match="newer version"):
        check(Serving(database_url))


def test_the_command_does_it_too(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    filled_first_version(database_url)
    assert main(["collect", "init", "--db", database_url]) == 0
    assert "0001" in capsys.readouterr().out
    assert version_of(database_url) == head()
