"""Projects: a name, settings, groups, and who may label."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from accord.collect import events
from accord.collect.refusals import Conflict, Invalid, NotThere, Stale
from accord.collect.schema import assignment, item, member, project
from accord.collect.settings import Settings

MOST_NAME = 120


@dataclass(frozen=True)
class Project:
    """A project. version: of its settings, for edits that must not overwrite each other."""

    id: int
    name: str
    settings: Settings
    version: int
    archived: bool
    created: float


def settings_of(values: Mapping[str, Any]) -> Settings:
    """Settings from JSON. Invalid, with the fields, where something is wrong."""
    try:
        return Settings.model_validate_json(json.dumps(values))
    except ValidationError as error:
        fields = {".".join(map(str, one["loc"])) or "settings": one["msg"] for one in error.errors()}
        where, what = next(iter(fields.items()))
        raise Invalid(what, where=where, fields=fields) from None


@lru_cache(maxsize=256)
def _settings(text: str) -> Settings:
    """Frozen, and asked for with each page."""
    return Settings.model_validate_json(text)


def _project(row: Row[Any]) -> Project:
    return Project(row.id, row.name, _settings(row.settings), row.version, row.archived, row.created)


# Made once: SQLAlchemy needs longer to put a query together than SQLite to answer it.
BY_ID = select(project).where(project.c.id == bindparam("which"))
BY_NAME = select(project).where(project.c.name == bindparam("which"))


def create(connection: Connection, name: str, settings: Settings, actor: str, now: float) -> int:
    """A new project. Invalid: no name; Conflict: there is one of that name."""
    name = " ".join(name.split())
    if not name or len(name) > MOST_NAME or not name.isprintable():
        what = f"a name of 1 to {MOST_NAME} printable characters"
        raise Invalid(what, where="name", fields={"name": what})
    if connection.execute(select(project.c.id).where(project.c.name == name)).first():
        raise Conflict("there is a project of this name", where=name, fix="give another name")
    values = {"name": name, "settings": settings.model_dump_json(), "created": now}
    (id,) = connection.execute(insert(project).values(values)).inserted_primary_key or (0,)
    events.append(connection, actor, "project created", name, {"settings": settings.model_dump()}, project=id, now=now)
    return int(id)


def find(connection: Connection, which: int | str) -> Project:
    """By number or name. NotThere: there is none."""
    row = connection.execute(BY_ID if isinstance(which, int) else BY_NAME, {"which": which}).first()
    if row is None:
        names = ", ".join(repr(one.name) for one in projects(connection)[:10]) or "none yet"
        raise NotThere("no such project", where=str(which), fix=f"there are: {names}" if isinstance(which, str) else "")
    return _project(row)


def only(connection: Connection, which: str | None) -> Project:
    """The one that is named, or the only one. NotThere: there is none, or more than one."""
    if which is not None:
        return find(connection, which)
    every = [one for one in projects(connection) if not one.archived]
    if len(every) == 1:
        return every[0]
    names = ", ".join(repr(one.name) for one in every[:10])
    fix = f"name one of {names} with --project" if every else "make one: accord collect import, or on the site"
    raise NotThere(f"{len(every) or 'no'} projects", where="--project", fix=fix)


def projects(connection: Connection) -> list[Project]:
    """All, by name; archived ones too."""
    return [_project(row) for row in connection.execute(select(project).order_by(project.c.name))]


def set_settings(
    connection: Connection, project_id: int, settings: Settings, *, version: int, actor: str, now: float
) -> Project:
    """New settings. Stale: somebody else changed them meanwhile; Conflict: another layout, after labelling began."""
    before = find(connection, project_id)
    if before.version != version:
        raise Stale("the settings were changed meanwhile", where=before.name, fix="load them again, and repeat")
    given = select(assignment.c.id).where(assignment.c.project_id == project_id).limit(1)
    if settings.layout != before.settings.layout and connection.execute(given).first():
        raise Conflict("the layout stands, since labelling has begun", where="layout", fix="make another project")
    values = {"settings": settings.model_dump_json(), "version": version + 1}
    connection.execute(update(project).where(project.c.id == project_id).values(values))
    if settings.overlap != before.settings.overlap:
        connection.execute(update(item).where(item.c.project_id == project_id).values(wanted=settings.overlap))
    if settings.choice != before.settings.choice:
        order_items(connection, project_id, settings)
    old, new = before.settings.model_dump(), settings.model_dump()
    changed = {name: [old[name], new[name]] for name in new if new[name] != old[name]}
    events.append(connection, actor, "settings changed", before.name, changed, project=project_id, now=now)
    return find(connection, project_id)


def order_items(connection: Connection, project_id: int, settings: Settings) -> None:
    """The order in which groups come: as imported, at random, or the most uncertain first (those without a score last).

    The random order is that of a hash of the row number, so that groups imported later come in between.
    """
    if settings.choice == "uncertain":
        place: Any = -func.coalesce(item.c.score, -1e308)
    elif settings.choice == "random":
        place = (item.c.id * 2654435761) % 4294967296  # Knuth's multiplicative hash
    else:
        place = item.c.id
    connection.execute(update(item).where(item.c.project_id == project_id).values(position=place))


def rename(connection: Connection, project_id: int, name: str, *, actor: str, now: float) -> None:
    """Another name. Conflict: there is a project of that name."""
    before = find(connection, project_id)
    name = " ".join(name.split())
    if not name or len(name) > MOST_NAME or not name.isprintable():
        what = f"a name of 1 to {MOST_NAME} printable characters"
        raise Invalid(what, where="name", fields={"name": what})
    same = select(project.c.id).where(project.c.name == name, project.c.id != project_id)
    if connection.execute(same).first():
        raise Conflict("there is a project of this name", where=name, fix="give another name")
    connection.execute(update(project).where(project.c.id == project_id).values(name=name))
    events.append(connection, actor, "project renamed", name, {"before": before.name}, project=project_id, now=now)


def archive(connection: Connection, project_id: int, archived: bool, *, actor: str, now: float) -> None:
    """No more labelling; nothing is removed, and it can be taken back."""
    found = find(connection, project_id)
    connection.execute(update(project).where(project.c.id == project_id).values(archived=archived))
    kind = "project archived" if archived else "project reopened"
    events.append(connection, actor, kind, found.name, project=project_id, now=now)


def members(connection: Connection, project_id: int) -> dict[int, tuple[str, ...] | None]:
    """Account -> the categories that it labels, None for all."""
    rows = connection.execute(select(member).where(member.c.project_id == project_id))
    return {row.account_id: None if row.categories is None else tuple(json.loads(row.categories)) for row in rows}


def set_members(
    connection: Connection, project_id: int, chosen: Mapping[int, Sequence[str] | None], *, actor: str, now: float
) -> None:
    """Who may label, and which categories; they hold for projects whose members are chosen."""
    found = find(connection, project_id)
    connection.execute(delete(member).where(member.c.project_id == project_id))
    rows = [
        {"project_id": project_id, "account_id": id, "categories": None if kinds is None else json.dumps(list(kinds))}
        for id, kinds in chosen.items()
    ]
    if rows:
        connection.execute(insert(member), rows)
    detail = {str(id): None if kinds is None else list(kinds) for id, kinds in chosen.items()}
    events.append(connection, actor, "members changed", found.name, detail, project=project_id, now=now)


def add_member(connection: Connection, project_id: int, account_id: int) -> None:
    """As an invitation to a project does; who is one already stays as they are."""
    if account_id not in members(connection, project_id):
        connection.execute(insert(member).values(project_id=project_id, account_id=account_id))
