"""The log: who did what and when, and whether anybody changed it afterwards."""

from __future__ import annotations

import json

from fastapi import APIRouter, Request
from sqlalchemy import Select, func, select
from starlette.responses import HTMLResponse

from accord.collect import events, projects
from accord.collect.schema import event
from accord.collect.web.context import admin, database
from accord.collect.web.pages import page

router = APIRouter()
ROWS = 100


@router.get("/log")
def log(request: Request) -> HTMLResponse:
    """The newest first. verify: the chain is checked from its beginning."""
    admin(request)
    asked = request.query_params
    wanted = {name: asked.get(name, "") for name in ("kind", "actor", "project", "before")}
    with database(request).read() as connection:
        rows = connection.execute(_rows(wanted)).all()
        kinds = connection.execute(select(event.c.kind).distinct().order_by(event.c.kind)).scalars().all()
        names = {one.id: one.name for one in projects.projects(connection)}
        checked = None
        if "verify" in asked:
            broken = events.verify(connection)
            count = connection.execute(select(func.count()).select_from(event)).scalar_one()
            checked = {"broken": broken, "count": count, "hash": events.last_hash(connection)}
    shown = [
        {"id": row.id, "at": row.at, "actor": row.actor, "kind": row.kind, "subject": row.subject, "hash": row.hash,
         "project": row.project_id, "detail": _short(row.detail)}
        for row in rows[:ROWS]
    ]  # fmt: skip
    last = shown[-1]["id"] if len(rows) > ROWS else None
    return page(
        request, "owner_log.html", rows=shown, kinds=kinds, names=names, wanted=wanted, checked=checked, last=last
    )


def _rows(wanted: dict[str, str]) -> Select[tuple[object, ...]]:
    query: Select[tuple[object, ...]] = select(event)
    for name in ("kind", "actor"):
        if wanted[name]:
            query = query.where(event.c[name] == wanted[name])
    if wanted["project"].isdecimal():
        query = query.where(event.c.project_id == int(wanted["project"][:15]))
    if wanted["before"].isdecimal():
        query = query.where(event.c.id < int(wanted["before"][:15]))
    return query.order_by(event.c.id.desc()).limit(ROWS + 1)


def _short(detail: str) -> str:
    """As it is read: the values, not JSON's signs."""
    values = json.loads(detail)
    text = "; ".join(f"{key}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
                     for key, value in values.items())  # fmt: skip
    return text if len(text) <= 2000 else text[:1999] + "…"
