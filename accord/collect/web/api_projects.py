"""The JSON API of owners: projects, groups in, judgements out, and how good they are."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from accord.collect import projects
from accord.collect.database import Database
from accord.collect.exporting import Export, Kind, Options, Ties
from accord.collect.importing import Handling, import_groups
from accord.collect.refusals import Invalid, Refused
from accord.collect.web import api_bodies as bodies
from accord.collect.web.api_bodies import PREFIX, TOKEN, Id, refusals
from accord.collect.web.api_shown import project_json, respond
from accord.collect.web.context import admin, database, viewer
from accord.data.labelling_address import Taken
from accord.data.read import read_groups
from accord.errors import InputError

router = APIRouter(prefix=PREFIX, tags=["owners"], dependencies=[TOKEN])
BLOCK = 256 * 1024  # bytes
LINES = "application/x-ndjson"
UPLOADED = {  # described by hand: the body is read as it comes, not held in memory
    "requestBody": {
        "required": True,
        "description": "Groups, in any format that is read.",
        "content": {kind: {"schema": {"type": "string"}} for kind in (LINES, "application/json", "text/csv")},
    }
}
EXPORTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The rows. X-Accord-Rows: how many; X-Accord-SHA256: of all bytes.",
        "content": {kind: {"schema": {"type": "string"}} for kind in (LINES, "text/csv")},
    }
}


@router.post("/projects", status_code=201, response_model=bodies.ProjectBody, responses=refusals(401, 403, 409, 422))
def create(request: Request, body: bodies.ProjectGiven) -> Response:
    """A new project. 409: there is one of that name."""
    who = admin(request)
    with database(request).write() as connection:
        id = projects.create(connection, body.name, body.settings, who.account.name, time.time())
        made = projects.find(connection, id)
    return respond(project_json(made, whole=True), 201)


@router.put("/projects/{project}", response_model=bodies.ProjectBody, responses=refusals(401, 403, 404, 409, 422))
def change(request: Request, project: Id, body: bodies.ProjectChange) -> Response:
    """New settings. 409: they were changed since `version`, or the layout may no longer change."""
    who = admin(request)
    with database(request).write() as connection:
        changed = projects.set_settings(
            connection, project, body.settings, version=body.version, actor=who.account.name, now=time.time()
        )
    return respond(project_json(changed, whole=True))


@router.post(
    "/projects/{project}/groups", response_model=bodies.ImportedBody, responses=refusals(401, 403, 404, 413, 422),
    openapi_extra=UPLOADED,
)  # fmt: skip
async def import_(
    request: Request,
    project: Id,
    format: Annotated[Literal["jsonl", "json", "csv"], Query(description="Of the body.")] = "jsonl",
    judgements: Annotated[Handling, Query(description="What becomes of judgements that the groups have.")] = "keep",
    sensitive: Annotated[bool, Query(description="Blurred, and not for annotators who do not want them.")] = False,
) -> Response:
    """Groups from the body: all of them, or, after an error, none. A group that is there already is left as it is."""
    who = await run_in_threadpool(admin, request)
    with tempfile.TemporaryDirectory(prefix="accord-import-") as folder:
        path = Path(folder) / f"groups.{format}"
        await _store(request, path)
        given = (path, project, who.account.name)
        body = await run_in_threadpool(_import, database(request), *given, judgements=judgements, sensitive=sensitive)
    return respond(body)


async def _store(request: Request, path: Path) -> None:
    """The body to a file, as it comes; the guard counts its bytes."""
    with path.open("wb") as file:
        async for block in request.stream():
            file.write(block)


def _import(
    database: Database, path: Path, project: int, actor: str, *, judgements: Handling, sensitive: bool
) -> dict[str, int]:
    with database.read() as connection:
        projects.find(connection, project)
    try:
        done = import_groups(
            database, project, read_groups(path), actor=actor, judgements=judgements, sensitive=sensitive,
            now=time.time(),
        )  # fmt: skip
    except Refused:
        raise
    except InputError as error:
        name = str(path.parent) + "/"  # of a folder that nobody knows
        where, what = error.where.replace(name, ""), error.what.replace(name, "")
        raise Invalid(what, where=where, fix=error.fix, fields={where or "body": what}) from error
    return {"new": done.new, "same": done.same, "judgements": done.judgements}


@router.get(
    "/projects/{project}/export", response_class=StreamingResponse, responses={**EXPORTED, **refusals(401, 403, 404)}
)
def export(
    request: Request,
    project: Id,
    kind: Annotated[Kind, Query(description="What a row is.")] = "groups",
    take: Annotated[Taken, Query(description="Which judgements: all, the adjudicated, or a consensus.")] = "all",
    ties: Annotated[Ties, Query(description="Of pairs: left out, or both ways at half the weight.")] = "drop",
    models: Annotated[bool, Query(description="Pairs and tables: with the models' names.")] = False,
) -> Response:
    """Lines of JSON (or CSV) of one moment, with their number and hash.

    Written aside first: so the hash is known before the first byte is sent, and who downloads slowly holds no old
    state of the database.
    """
    who = admin(request)
    made = Export(
        database(request), project, Options(kind, take, ties, models), actor=who.account.name, now=time.time()
    )
    file = tempfile.TemporaryFile(prefix="accord-export-")
    try:
        for block in made:
            file.write(block)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    assert made.done is not None
    is_csv = kind.startswith("csv")
    headers = {
        "Content-Length": str(made.done.bytes),
        "Content-Disposition": f'attachment; filename="{kind}-{project}.{"csv" if is_csv else "jsonl"}"',
        "X-Accord-Rows": str(made.done.rows),
        "X-Accord-SHA256": made.done.sha256,
    }
    return StreamingResponse(_sent(file), headers=headers, media_type="text/csv" if is_csv else LINES)


def _sent(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while block := file.read(BLOCK):
            yield block


@router.get("/projects/{project}/quality", responses=refusals(401, 403, 404))
def quality(request: Request, project: Id) -> Response:
    """Progress, agreement, each annotator's numbers: what the live page shows."""
    viewer(request)
    from accord.collect.quality import latest

    with database(request).read() as connection:
        projects.find(connection, project)
    return respond(latest(database(request), project).to_json())
