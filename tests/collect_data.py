"""A labelling database with a project, groups and accounts, for tests."""

from __future__ import annotations

import json
from pathlib import Path

from sqlalchemy import Connection, insert, select

from accord.collect import schema
from accord.collect.database import Database, secret
from accord.collect.migrate import create_database
from accord.collect.projects import create
from accord.collect.queue import Page, next_page
from accord.collect.settings import Settings
from accord.collect.submissions import Receipt, submit

NOW = 1_800_000_000.0


def new_database(folder: Path) -> Database:
    return create_database(f"sqlite:///{folder / 'prefs.db'}")


def add_account(connection: Connection, name: str, role: str = "annotator") -> int:
    """Without a password: nobody logs in with it."""
    values = {"name": name, "key": name, "role": role, "active": True, "sensitive": True, "created": NOW}
    (id,) = connection.execute(insert(schema.account).values(values)).inserted_primary_key or (0,)
    return int(id)


def add_items(connection: Connection, project: int, count: int, *, k: int = 3, wanted: int = 1, **more: object) -> None:
    """Groups item-0, item-1, ... whose outputs are called `output 0 of 0` by models m0, m1, ..."""
    for n in range(count):
        values = {"project_id": project, "key": f"item-{n}", "position": float(n), "k": k, "wanted": wanted, **more}
        prompt = json.dumps(f"prompt {n}")
        (id,) = connection.execute(insert(schema.item).values(prompt=prompt, **values)).inserted_primary_key or (0,)
        for place in range(k):
            output = {
                "item_id": id,
                "place": place,
                "content": json.dumps(f"output {place} of {n}"),
                "model": f"m{place}",
            }
            connection.execute(insert(schema.output).values(output))


def labelling(
    folder: Path, *, count: int = 5, k: int = 3, people: int = 2, **settings: object
) -> tuple[Database, int, list[int]]:
    """(database, project, annotators)"""
    database = new_database(folder)
    made = Settings.model_validate_json(json.dumps(settings))
    with database.write() as connection:
        project = create(connection, "helpful", made, "test", NOW)
        add_items(connection, project, count, k=k, wanted=made.overlap)
        return database, project, [add_account(connection, f"person{n}") for n in range(people)]


def ask(database: Database, project: int, person: int, now: float = NOW) -> Page | None:
    with database.write() as connection:
        return next_page(connection, secret(connection), project, person, now)


def full_answer(page: Page) -> dict[str, object]:
    """All that the layout `ranking` asks: the one shown first is best."""
    letters = "ABCDEFGHI"[: len(page.shown)]
    ratings = {letter: max(1, 7 - place) for place, letter in enumerate(letters)}
    return {"ratings": ratings, "ranking": [[letter] for letter in letters]}


def say(
    database: Database, page: Page, person: int, *, answer: object = None, submission: str = "", now: float = NOW,
    revision: int = 0,
) -> Receipt:  # fmt: skip
    with database.write() as connection:
        return submit(
            connection, page.assignment, person, submission=submission or f"page-{page.assignment}-{revision}",
            answer=full_answer(page) if answer is None else answer, active_ms=1000, wall_ms=2000, revision=revision,
            now=now,
        )  # fmt: skip


def taken(database: Database) -> list[int]:
    """Of each group, in the order of import."""
    with database.read() as connection:
        return list(connection.execute(select(schema.item.c.taken).order_by(schema.item.c.id)).scalars())
