"""What owners of projects see. The live page stands here; each other part of their pages is a file of its own."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from accord.collect import projects
from accord.collect.web import owner_groups, owner_log, owner_people, owner_projects, owner_transfer
from accord.collect.web.context import database, viewer
from accord.collect.web.pages import page

router = APIRouter()
for part in (owner_projects, owner_transfer, owner_groups, owner_people, owner_log):
    router.include_router(part.router)


@router.get("/projects/{project:int}")
def live(request: Request, project: int) -> HTMLResponse:
    """How it goes, and how good the labels are."""
    return _numbers(request, project, "owner_live.html")


@router.get("/projects/{project:int}/numbers")
def numbers(request: Request, project: int) -> HTMLResponse:
    """The same without the page around it: the page fetches it again and again."""
    return _numbers(request, project, "owner_numbers.html")


def _numbers(request: Request, project: int, template: str) -> HTMLResponse:
    viewer(request)
    from accord.collect.quality import latest
    from accord.collect.web.owner_live import shown

    with database(request).read() as connection:
        found = projects.find(connection, project)
    seen = shown(latest(database(request), project), found.settings)
    return page(request, template, project=found, here="live", seen=seen)
