"""Projects: a new one, and its settings."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from accord.collect import projects
from accord.collect.layouts import PARTS
from accord.collect.refusals import Conflict, Invalid, Refused, Stale
from accord.collect.settings import Settings
from accord.collect.web.context import admin, database, form
from accord.collect.web.owner_form import changes, values_of
from accord.collect.web.pages import page

router = APIRouter()
ABOUT = {
    "ranking": "Rate each output, then drag all of them into ranks. Ties allowed. As InstructGPT did.",
    "pair": "Two outputs: A is better, B is better, equal, or both are bad.",
    "rating": "A rating and flags for each output, no ranking.",
    "thumbs": "Each output is good or bad. The fastest one.",
    "demonstration": "A text box: people write what the assistant should have said.",
}


def _form(request: Request, values: dict[str, Any], name: str, status: int = 200, **more: Any) -> HTMLResponse:
    given = {"project": None, "here": "settings", "errors": {}, "version": 0, "stale": [], "begun": False} | more
    layouts = [(key, PARTS[key].title, ABOUT[key]) for key in PARTS]
    return page(request, "owner_settings.html", status, values=values, name=name, layouts=layouts, **given)


@router.get("/projects/new")
def new(request: Request) -> HTMLResponse:
    """Everything has a sensible value, so that a name is enough."""
    admin(request)
    return _form(request, Settings().model_dump(mode="json"), "")


@router.post("/projects/new")
def create(request: Request) -> Response:
    """422 shows the form again, with what is wrong."""
    who = admin(request)
    values, name = values_of(form(request)), str(form(request).get("name", ""))
    try:
        settings = projects.settings_of(values)
        with database(request).write() as connection:
            made = projects.create(connection, name, settings, who.account.name, time.time())
    except (Invalid, Conflict) as error:
        return _form(request, values, name, error.status, errors=_errors(error))
    return RedirectResponse(f"/projects/{made}/import", 303)


@router.get("/projects/{project:int}/settings")
def settings(request: Request, project: int) -> HTMLResponse:
    """As they are stored."""
    admin(request)
    with database(request).read() as connection:
        found, begun = projects.find(connection, project), _begun(connection, project)
    values = found.settings.model_dump(mode="json")
    saved = "saved" in request.query_params
    return _form(request, values, found.name, project=found, version=found.version, begun=begun, saved=saved)


@router.post("/projects/{project:int}/settings")
def change(request: Request, project: int) -> Response:
    """409 where somebody else changed them meanwhile: shows both, and stores nothing until that was seen."""
    who = admin(request)
    fields = form(request)
    values, name, version = values_of(fields), str(fields.get("name", "")), str(fields.get("version", "0"))
    try:
        given = projects.settings_of(values)
        with database(request).write() as connection:
            before = projects.find(connection, project)
            projects.set_settings(
                connection, project, given, version=int(version) if version.isdecimal() else 0,
                actor=who.account.name, now=time.time(),
            )  # fmt: skip
            if " ".join(name.split()) != before.name:
                projects.rename(connection, project, name, actor=who.account.name, now=time.time())
    except (Invalid, Conflict, Stale) as error:
        with database(request).read() as connection:
            found, begun = projects.find(connection, project), _begun(connection, project)
        stale = changes(found.settings, values) if isinstance(error, Stale) else []
        errors = {} if isinstance(error, Stale) else _errors(error)
        shown = found.version if isinstance(error, Stale) else version
        return _form(request, values, name, error.status, project=found, version=shown, begun=begun, stale=stale,
                     errors=errors, was_stale=isinstance(error, Stale))  # fmt: skip
    return RedirectResponse(f"/projects/{project}/settings?saved=1", 303)


@router.post("/projects/{project:int}/archive")
def archive(request: Request, project: int) -> Response:
    """No more labelling, or again; nothing is removed."""
    who = admin(request)
    with database(request).write() as connection:
        closed = form(request).get("archived") == "yes"
        projects.archive(connection, project, closed, actor=who.account.name, now=time.time())
    return RedirectResponse(f"/projects/{project}/settings", 303)


def _begun(connection: Any, project: int) -> bool:
    from sqlalchemy import select

    from accord.collect.schema import assignment

    query = select(assignment.c.id).where(assignment.c.project_id == project).limit(1)
    return connection.execute(query).first() is not None


def _errors(error: Refused) -> dict[str, str]:
    """By the name of the field, flags.3.letter as flags."""
    found = {name.split(".")[0]: what for name, what in error.fields.items()}
    said = f"{error.what}: {error.fix}" if error.fix else error.what
    where = "name" if isinstance(error, Conflict) and error.where != "layout" else (error.where or "settings")
    return found or {where.split(".")[0]: said}
