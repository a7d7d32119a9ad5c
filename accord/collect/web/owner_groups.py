"""Groups: the list, one with all judgements side by side, and what an admin decides about it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import Connection, select, update
from starlette.responses import HTMLResponse, RedirectResponse, Response

from accord.collect import events, projects, submissions
from accord.collect.layouts import LETTERS, PARTS, canonical, rates
from accord.collect.quality_read import COUNTED
from accord.collect.refusals import Conflict, Invalid, NotThere
from accord.collect.schema import assignment, item, judgement
from accord.collect.settings import Settings
from accord.collect.web.context import admin, database, form, viewer
from accord.collect.web.owner_rows import FILTERS, NOTHING, agreement, lines, whole
from accord.collect.web.pages import page

router = APIRouter()


@router.get("/projects/{project:int}/groups")
def groups(request: Request, project: int) -> HTMLResponse:
    """Fifty at a time."""
    viewer(request)
    asked = request.query_params
    which, search, behind = asked.get("show", "all"), asked.get("search", "").strip()[:200], asked.get("behind", "")
    which = which if which in FILTERS else "all"
    with database(request).read() as connection:
        found = projects.find(connection, project)
        listed = lines(connection, project, which, search, behind, found.settings.scale)
    return page(request, "owner_groups.html", project=found, here="groups", listed=listed, which=which, search=search,
                behind=behind, filters=list(FILTERS))  # fmt: skip


@router.get("/projects/{project:int}/groups/{group:int}")
def one(request: Request, project: int, group: int) -> HTMLResponse:
    """A group. Only here model names are seen, and not by annotators."""
    viewer(request)
    return _one(request, project, group)


def _one(request: Request, project: int, group: int, status: int = 200, **more: Any) -> HTMLResponse:
    with database(request).read() as connection:
        found = projects.find(connection, project)
        seen = whole(connection, project, group)
        nearby = _nearby(connection, project, seen.row)
    settings = found.settings
    answers = [said.answer for said in seen.said if said.kind in COUNTED and said.status == "done" and said.answer]
    given = {"errors": {}, "answer": seen.settled or suggestion(answers, seen.row.k)} | more
    return page(
        request, "owner_group.html", status, project=found, here="groups", seen=seen, letters=LETTERS, nearby=nearby,
        parts=PARTS[settings.layout], rates=rates(settings), submission=uuid.uuid4().hex,
        agreement=agreement(answers, settings.scale), flags={flag.key: flag.label for flag in settings.flags}, **given,
    )  # fmt: skip


def _nearby(connection: Connection, project: int, row: Any) -> dict[str, int | None]:
    """The group before and the one behind."""
    rows = select(item.c.id).where(item.c.project_id == project).limit(1)
    before = rows.where(item.c.position < row.position).order_by(item.c.position.desc())
    behind = rows.where(item.c.position > row.position).order_by(item.c.position)
    return {"before": connection.execute(before).scalar(), "behind": connection.execute(behind).scalar()}


def suggestion(answers: Sequence[dict[str, Any]], k: int) -> dict[str, Any]:
    """What the form begins with: outputs by their mean rank, and median ratings; an admin decides."""
    found: dict[str, Any] = dict(NOTHING)
    ranked = [one["ranks"] for one in answers if one.get("ranks")]
    if ranked:
        means = []
        for place in range(k):
            ranks = [one[place] for one in ranked if one[place] is not None]
            means.append(sum(ranks) / len(ranks) if ranks else None)
        order = sorted({mean for mean in means if mean is not None})
        found["ranks"] = [None if mean is None else order.index(mean) + 1 for mean in means]
    rated = [one["ratings"] for one in answers if one.get("ratings")]
    if rated:
        found["ratings"] = [sorted(one[place] for one in rated)[len(rated) // 2] for place in range(k)]
    labelled = [one["labels"] for one in answers if one.get("labels")]
    if labelled:
        found["labels"] = [2 * sum(one[place] for one in labelled) > len(labelled) for place in range(k)]
    return found


@router.post("/projects/{project:int}/groups/{group:int}/settle")
def settle(request: Request, project: int, group: int) -> Response:
    """Stores what the admin decided; a second time is the next revision."""
    who = admin(request)
    fields = form(request)
    with database(request).read() as connection:
        settings = projects.find(connection, project).settings
        k = whole(connection, project, group).row.k
    try:
        answer = canonical(_wire(fields, settings, k), settings, range(k))
    except Invalid as error:
        return _one(request, project, group, 422, errors=error.fields)
    with database(request).write() as connection:
        submissions.adjudicate(
            connection, group, who.account.id, answer=answer, submission=str(fields.get("submission", ""))[:80],
            now=time.time(),
        )  # fmt: skip
    return RedirectResponse(f"/projects/{project}/groups/{group}", 303)


def _wire(fields: Any, settings: Settings, k: int) -> dict[str, Any]:
    """The form as an annotator's page would send it: ranks of selects become a list of lists."""
    letters, parts = LETTERS[:k], PARTS[settings.layout]
    found: dict[str, Any] = {}
    if rates(settings):
        ratings = {letter: str(fields.get(f"rating_{letter}", "")) for letter in letters}
        found["ratings"] = {letter: int(text) for letter, text in ratings.items() if text.isdecimal()}
    if parts.ranks and k > 1:
        ranks = {letter: str(fields.get(f"rank_{letter}", "")) for letter in letters}
        found["excluded"] = [letter for letter in letters if ranks[letter] == "out"]
        order = sorted({int(text) for text in ranks.values() if text.isdecimal()})
        found["ranking"] = [[letter for letter in letters if ranks[letter] == str(rank)] for rank in order]
        if settings.layout == "pair" and "both_bad" in fields:
            found["both_bad"] = True
    if parts.labels:
        said = {letter: fields.get(f"label_{letter}") for letter in letters}
        found["labels"] = {letter: value == "good" for letter, value in said.items() if value in ("good", "bad")}
    if parts.text:
        found["text"] = str(fields.get("text", "")).replace("\r\n", "\n")
    elif settings.flags:
        found["flags"] = {letter: fields.getlist(f"flags_{letter}") for letter in letters}
    return found


@router.post("/projects/{project:int}/groups/{group:int}/mark")
def mark(request: Request, project: int, group: int) -> Response:
    """Sensitive or not, gold or not, no longer set aside."""
    who = admin(request)
    do = str(form(request).get("do", ""))
    with database(request).write() as connection:
        row = connection.execute(select(item).where(item.c.id == group, item.c.project_id == project)).first()
        if row is None:
            raise NotThere("no such group", where=str(group))
        if do not in MARKS:
            raise Invalid(f"one of {', '.join(MARKS)}", where="do")
        kind, values = MARKS[do]
        values = {"gold": _settled(connection, group)} if do == "gold" else values
        connection.execute(update(item).where(item.c.id == group).values(values))
        events.append(connection, who.account.name, kind, f"group {row.key}", project=project, now=time.time())
    return RedirectResponse(f"/projects/{project}/groups/{group}", 303)


MARKS: dict[str, tuple[str, dict[str, Any]]] = {
    "sensitive": ("marked sensitive", {"sensitive": True}),
    "harmless": ("mark of sensitive removed", {"sensitive": False}),
    "gold": ("made gold", {}),
    "no_gold": ("gold removed", {"gold": None}),
    "reopen": ("reopened", {"skips": 0}),
}


def _settled(connection: Connection, group: int) -> str:
    """The newest adjudication's answer. Conflict: there is none."""
    query = (
        select(judgement.c.answer)
        .join(assignment, assignment.c.id == judgement.c.assignment_id)
        .where(assignment.c.item_id == group, assignment.c.kind == "adjudication")
        .order_by(judgement.c.id.desc())
        .limit(1)
    )
    found = connection.execute(query).scalar()
    if found is None:
        raise Conflict("nobody has settled this group", fix="say what the right answer is, then make it gold")
    return json.dumps(json.loads(found), ensure_ascii=False, sort_keys=True)
