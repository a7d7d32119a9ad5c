"""`accord collect status`: how far labelling is, how far people agree, and who differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from accord.collect import events, projects, schema
from accord.collect.database import open_database
from accord.errors import InputError, IntegrityError
from accord.stages.collect_configs import CollectStatusConfig
from accord.stages.tables import show, tell, written


def run(config: CollectStatusConfig, given: Mapping[str, object]) -> None:
    """Prints it. IntegrityError: the event log is not what was written."""
    database = open_database(config.database.db)
    try:
        with database.read() as connection:
            if config.output.verify:
                _verify(connection, database.name)
            every = projects.projects(connection)
            if not every:
                raise InputError("no project yet", where=database.name, fix="accord collect import FILE")
            if config.project.project is None and len(every) > 1:
                show([_row(connection, one) for one in every], title=database.name, where=config.output.json)
                return
            _one(connection, projects.only(connection, config.project.project), config.output.json)
    finally:
        database.close()


def _verify(connection: Connection, name: str) -> None:
    if (broken := events.verify(connection)) is not None:
        fix = "somebody wrote to the database beside the site: compare it with a copy"
        raise IntegrityError(f"row {broken.id} of the event log {broken.what}", where=name, fix=fix)
    tell([f"the event log holds; its last hash is {events.last_hash(connection)}"])


def _row(connection: Connection, one: projects.Project) -> dict[str, Any]:
    item = schema.item
    columns = (func.count(), func.coalesce(func.sum(item.c.wanted), 0), func.coalesce(func.sum(item.c.taken), 0))
    groups, wanted, taken = connection.execute(select(*columns).where(item.c.project_id == one.id)).one()
    state = "closed" if one.archived else "open"
    return {"project": one.name, "layout": one.settings.layout, "groups": groups, "wanted": wanted, "taken": taken,
            "state": state}  # fmt: skip


def _one(connection: Connection, project: projects.Project, json: str | None) -> None:
    from accord.collect.quality import quality

    found = quality(connection, project)
    if written(found.to_json(), json):
        return
    told = found.to_json()
    show([_row(connection, project)], title=project.name)
    if told["annotators"]:
        show([_annotator(row) for row in told["annotators"]], title="annotators")
    if told["agreement"]:
        show([_cells(row) for row in told["agreement"]], title="agreement")
    tell(_notes(told))


def _annotator(row: Mapping[str, Any]) -> dict[str, Any]:
    return _cells({key: value for key, value in row.items() if key not in ("id", "ratings")})


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers short, intervals as 0.1 to 0.3, what is not known as a dash."""
    return {key: _cell(value) for key, value in row.items() if not isinstance(value, Mapping)}


def _cell(value: object) -> object:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple) and len(value) == 2:
        return f"{_cell(value[0])} to {_cell(value[1])}"
    return value


def _notes(told: Mapping[str, Any]) -> Iterator[str]:
    yield from (str(note) for note in told.get("notes", ()))
