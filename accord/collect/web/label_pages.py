"""The pages of an annotator: the projects, the page on which one judges, and what one has judged.

The page on which one judges is empty: its script asks the JSON interface for the group, so that there is one way by
which groups are handed out, and none of them in a page that a browser keeps.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy import Connection
from starlette.responses import Response

from accord.collect import projects, queue, submissions
from accord.collect.layouts import PARTS
from accord.collect.projects import Project
from accord.collect.refusals import NotAllowed, NotThere
from accord.collect.roles import Account
from accord.collect.web.context import annotator, database, visitor
from accord.collect.web.pages import page

router = APIRouter()
AT_ONCE = 100  # rows of the history


@router.get("/home")
def home(request: Request) -> Response:
    """The projects that this account may see, and how far it is in each."""
    who = visitor(request)
    with database(request).read() as connection:
        every = (_card(connection, one, who.account) for one in projects.projects(connection))
        cards = [card for card in every if card is not None]
    labels = any(card["progress"] and card["progress"].left for card in cards)
    return page(request, "home.html", cards=cards, labels=labels)


def _card(connection: Connection, one: Project, account: Account) -> dict[str, Any] | None:
    """None where this account has nothing to do with the project."""
    try:
        queue.rules_for(connection, one, account.id)
    except NotAllowed:
        if account.role == "annotator":
            return None
        progress = None
    else:
        progress = queue.progress(connection, one.id, account.id)
    total = progress.done + progress.skipped + progress.left if progress else 0
    time = _time(progress.active_ms) if progress else ""
    title = PARTS[one.settings.layout].title
    return {"project": one, "layout": title, "progress": progress, "total": total, "time": time}


def _time(ms: int) -> str:
    minutes = ms // 60_000
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


@router.get("/label/{project}")
def label(request: Request, project: int) -> Response:
    """The next group."""
    return _label(request, project, None)


@router.get("/label/{project}/history")
def history(request: Request, project: int, before: Annotated[int | None, Query(ge=1)] = None) -> Response:
    """What this account has judged, the newest first."""
    who = annotator(request)
    with database(request).read() as connection:
        found = projects.find(connection, project)
        queue.rules_for(connection, found, who.account.id)
        rows = submissions.history(connection, project, who.account.id, limit=AT_ONCE + 1, before=before)
    shown = [{**row, "ended_at": _iso(row["ended"])} for row in rows[:AT_ONCE]]
    older = shown[-1]["number"] if len(rows) > AT_ONCE else None
    return page(request, "history.html", project=found, pages=shown, older=older)


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


@router.get("/label/{project}/{assignment}")
def one_page(request: Request, project: int, assignment: int) -> Response:
    """A group that was handed out to this account before: to go on with it, or to correct it."""
    return _label(request, project, assignment)


def _label(request: Request, project: int, assignment: int | None) -> Response:
    who = annotator(request)
    with database(request).read() as connection:
        found = projects.find(connection, project)
        queue.rules_for(connection, found, who.account.id)
        if assignment is not None and queue.page(connection, assignment, who.account.id).project != project:
            raise NotThere("no such page", where=str(assignment))
    return page(request, "label.html", project=found, assignment=assignment)
