"""The JSON API of annotators: the next page, drafts, submissions, skips. Below /api/v1, described by OpenAPI.

Every endpoint asks first who is there, then does all of its work in one transaction. Repeating any of these requests
is safe: the same page is handed out again, the same submission is stored once, the same skip counts once.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from accord.collect import projects, queue, submissions
from accord.collect.database import secret
from accord.collect.refusals import NotAllowed, NotThere
from accord.collect.web import api_bodies as bodies
from accord.collect.web.api_bodies import PREFIX, TOKEN, Id, refusals
from accord.collect.web.api_shown import page_json, project_json, respond, task_json
from accord.collect.web.context import Visitor, annotator, database, visitor
from accord.collect.web.turns import in_turn

router = APIRouter(prefix=PREFIX, tags=["labelling"], dependencies=[TOKEN])
NOTHING: dict[int | str, dict[str, Any]] = {204: {"description": "Nothing is left for this account."}}


def secret_of(request: Request) -> bytes:
    """Read once: it never changes."""
    found: bytes | None = getattr(request.app.state, "secret", None)
    if found is None:
        with database(request).read() as connection:
            found = request.app.state.secret = secret(connection)
    return found


@router.post(
    "/projects/{project}/next", response_model=bodies.PageBody, responses={**NOTHING, **refusals(401, 403, 404, 503)}
)
@in_turn
def next_page(request: Request, project: Id) -> Response:
    """The page that is open for this account, or a new one. 204: nothing is left for it."""
    who = annotator(request)
    with database(request).write() as connection:
        page = queue.next_page(connection, secret_of(request), project, who.account.id, time.time())
        if page is None:
            return Response(status_code=204)
        settings = projects.find(connection, project).settings
    return respond(page_json(page, settings))


@router.get("/assignments/{assignment}", response_model=bodies.PageBody, responses=refusals(401, 404))
@in_turn
def one_page(request: Request, assignment: Id) -> Response:
    """A page of this account, with what was submitted and what is drafted."""
    who = annotator(request)
    with database(request).read() as connection:
        page = queue.page(connection, assignment, who.account.id)
        settings = projects.find(connection, page.project).settings
    return respond(page_json(page, settings))


@router.put(
    "/assignments/{assignment}/draft", response_model=bodies.DraftStored, responses=refusals(401, 404, 409, 422, 503)
)
@in_turn
def draft(request: Request, assignment: Id, body: bodies.DraftGiven) -> Response:
    """Keeps what is not submitted yet, and the page for this account. 409: a newer draft is stored."""
    who = annotator(request)
    with database(request).write() as connection:
        version = submissions.save_draft(
            connection, assignment, who.account.id, version=body.version, answer=body.answer,
            active_ms=body.active_ms, now=time.time(),
        )  # fmt: skip
    return respond({"version": version})


@router.post(
    "/assignments/{assignment}/submit", response_model=bodies.ReceiptBody, responses=refusals(401, 404, 409, 422, 503)
)
@in_turn
def submit(request: Request, assignment: Id, body: bodies.Submission) -> Response:
    """Stores an answer. The same `submission` with the same answer again: the same receipt, nothing stored twice."""
    who = annotator(request)
    with database(request).write() as connection:
        receipt = submissions.submit(
            connection, assignment, who.account.id, submission=body.submission, answer=body.answer,
            active_ms=body.active_ms, wall_ms=body.wall_ms, revision=body.revision, now=time.time(),
        )  # fmt: skip
    return respond(receipt.to_json())


@router.post("/assignments/{assignment}/skip", status_code=204, responses=refusals(401, 404, 409, 422, 503))
@in_turn
def skip(request: Request, assignment: Id, body: bodies.SkipGiven) -> Response:
    """Gives a page to somebody else. 409: it was submitted."""
    who = annotator(request)
    with database(request).write() as connection:
        submissions.skip(connection, assignment, who.account.id, reason=body.reason, now=time.time())
    return Response(status_code=204)


@router.get("/projects/{project}/history", response_model=bodies.HistoryBody, responses=refusals(401, 403, 404))
def history(
    request: Request,
    project: Id,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1, le=bodies.MOST_ID, description="Pages of a smaller number.")] = None,
) -> Response:
    """The pages of this account, the newest first."""
    who = annotator(request)
    with database(request).read() as connection:
        seen(connection, project, who)
        pages = submissions.history(connection, project, who.account.id, limit=limit, before=before)
    return respond({"pages": pages})


@router.get("/projects/{project}/progress", response_model=bodies.ProgressBody, responses=refusals(401, 403, 404))
def progress(request: Request, project: Id) -> Response:
    """How far this account is."""
    who = annotator(request)
    with database(request).read() as connection:
        seen(connection, project, who)
        found = queue.progress(connection, project, who.account.id)
    return respond(
        {"done": found.done, "skipped": found.skipped, "left": found.left, "active_ms": found.active_ms}
    )  # fmt: skip


@router.get("/projects/{project}/task", response_model=bodies.TaskBody, responses=refusals(401, 403, 404))
def task(request: Request, project: Id) -> Response:
    """What the project asks: layout, scale, flags, instructions."""
    who = visitor(request)
    with database(request).read() as connection:
        found = seen(connection, project, who)
    return respond(task_json(found))


@router.get("/projects", response_model=bodies.ProjectsBody, responses=refusals(401))
def projects_(request: Request) -> Response:
    """Those that this account may see: an annotator those in which it may label."""
    who = visitor(request)
    with database(request).read() as connection:
        every = [one for one in projects.projects(connection) if may_see(connection, one, who)]
    return respond({"projects": [project_json(one, whole=who.account.role != "annotator") for one in every]})


@router.get("/projects/{project}", response_model=bodies.ProjectBody, responses=refusals(401, 404))
def project_(request: Request, project: Id) -> Response:
    """One project."""
    who = visitor(request)
    with database(request).read() as connection:
        found = seen(connection, project, who)
    return respond(project_json(found, whole=who.account.role != "annotator"))


def may_see(connection: Any, project: projects.Project, who: Visitor) -> bool:
    """Admins and viewers see every project, annotators those in which they may label."""
    if who.account.role != "annotator":
        return True
    try:
        queue.rules_for(connection, project, who.account.id)
    except NotAllowed:
        return False
    return True


def seen(connection: Any, project: int, who: Visitor) -> projects.Project:
    """NotThere for an annotator also where there is one, in which they may not label."""
    found = projects.find(connection, project)
    if not may_see(connection, found, who):
        raise NotThere("no such project", where=str(project))
    return found
