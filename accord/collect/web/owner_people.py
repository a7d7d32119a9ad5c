"""People: accounts, invitations, and who may label in a project."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import Connection, func, select
from starlette.responses import HTMLResponse, RedirectResponse, Response

from accord.collect import accounts, projects
from accord.collect.refusals import Invalid
from accord.collect.schema import assignment, item, session
from accord.collect.web.context import Visitor, admin, config, database, form
from accord.collect.web.pages import page

router = APIRouter()


def _people(request: Request, **more: Any) -> HTMLResponse:
    now = time.time()
    with database(request).read() as connection:
        people, seen, done = accounts.people(connection), _seen(connection), _done(connection)
        every = projects.projects(connection)
        invitations = accounts.invitations(connection, now)
    names = {one.id: one.name for one in people}
    titles = {one.id: one.name for one in every}
    given: dict[str, Any] = {"link": None, "said": None} | more
    return page(
        request, "owner_people.html", people=people, seen=seen, done=done, projects=every, titles=titles, names=names,
        invitations=invitations, **given,
    )  # fmt: skip


def _seen(connection: Connection) -> dict[int, float]:
    """Of each account, when it last asked for a page or judged."""
    asked = select(session.c.account_id, func.max(session.c.seen)).group_by(session.c.account_id)
    ended = select(assignment.c.account_id, func.max(assignment.c.ended)).group_by(assignment.c.account_id)
    found: dict[int, float] = {}
    for query in (asked, ended):
        for account, at in connection.execute(query):
            found[account] = max(found.get(account, 0.0), at or 0.0)
    return {account: at for account, at in found.items() if at}


def _done(connection: Connection) -> dict[int, int]:
    query = select(assignment.c.account_id, func.count()).where(assignment.c.status == "done")
    query = query.where(assignment.c.kind != "adjudication").group_by(assignment.c.account_id)
    return {account: count for account, count in connection.execute(query)}


@router.get("/people")
def people(request: Request) -> HTMLResponse:
    """Everybody, and invitations that can still be used."""
    admin(request)
    return _people(request)


@router.post("/people/invite")
def invite(request: Request) -> HTMLResponse:
    """The link is shown in this answer and never again: only its hash is kept."""
    who = admin(request)
    role, where = str(form(request).get("role", "")), str(form(request).get("project", ""))
    project = int(where) if where.isdecimal() else None
    with database(request).write() as connection:
        token = accounts.invite(connection, role, project, who.account.id, time.time(), actor=who.account.name)
    return _people(request, link=f"{config(request).origin}/join/{token}")


@router.post("/people/invitations/{invitation:int}/withdraw")
def withdraw(request: Request, invitation: int) -> Response:
    """The link no longer works."""
    who = admin(request)
    with database(request).write() as connection:
        accounts.withdraw(connection, invitation, who.account.name, time.time())
    return RedirectResponse("/people", 303)


@router.post("/people/{account:int}")
def change(request: Request, account: int) -> Response:
    """Role, whether somebody may log in, and whether they see sensitive groups: one at a time."""
    who = admin(request)
    with database(request).write() as connection:
        _change(connection, account, str(form(request).get("do", "")), str(form(request).get("role", "")), who)
    return RedirectResponse("/people", 303)


def _change(connection: Connection, account: int, do: str, role: str, who: Visitor) -> None:
    actor, now = who.account.name, time.time()
    if do == "role":
        accounts.set_role(connection, account, role, actor, now)
    elif do == "deactivate":
        accounts.deactivate(connection, account, actor, now)
    elif do == "reactivate":
        accounts.reactivate(connection, account, actor, now)
    elif do in ("sensitive", "spare"):
        accounts.set_sensitive(connection, account, do == "sensitive", actor, now)
    else:
        raise Invalid("role, deactivate, reactivate, sensitive or spare", where="do")


@router.get("/projects/{project:int}/members")
def members(request: Request, project: int) -> HTMLResponse:
    """Who may label here, and which categories."""
    admin(request)
    with database(request).read() as connection:
        found, chosen = projects.find(connection, project), projects.members(connection, project)
        people = [one for one in accounts.people(connection) if one.active and one.role != "viewer"]
        query = select(item.c.category).where(item.c.project_id == project, item.c.category.isnot(None)).distinct()
        categories = connection.execute(query.order_by(item.c.category).limit(100)).scalars().all()
    return page(
        request,
        "owner_members.html",
        project=found,
        here="members",
        people=people,
        chosen=chosen,
        categories=categories,
    )


@router.post("/projects/{project:int}/members")
def set_members(request: Request, project: int) -> Response:
    """Those that are ticked; categories by commas, none for all."""
    who = admin(request)
    fields = form(request)
    ids = [int(text) for text in fields.getlist("member") if text.isdecimal()]
    chosen = {id: _categories(str(fields.get(f"categories_{id}", ""))) for id in ids}
    with database(request).write() as connection:
        for id in chosen:
            accounts.find(connection, id)
        projects.set_members(connection, project, chosen, actor=who.account.name, now=time.time())
    return RedirectResponse(f"/projects/{project}/members", 303)


def _categories(text: str) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] or None
