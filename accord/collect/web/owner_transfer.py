"""Groups in, judgements out."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Request, UploadFile
from sqlalchemy import select
from starlette.responses import HTMLResponse, Response

from accord.collect import projects
from accord.collect.refusals import Invalid, Refused
from accord.collect.schema import event
from accord.collect.web.context import admin, database, form
from accord.collect.web.pages import page
from accord.errors import InputError

router = APIRouter()
ASIDE = re.compile(r"\S*accord-import-[^/\s]+/upload[.a-z]*")  # where an upload lies while it is read
ENDINGS = re.compile(r"\.(jsonl|json|csv|tsv|parquet)(\.gz)?$")
HANDLINGS: dict[str, Literal["keep", "gold", "drop"]] = {"keep": "keep", "gold": "gold", "drop": "drop"}
KINDS = (
    ("groups", "Groups", "Everything: prompts, outputs, models, all judgements with annotator, ranks, ratings, flags, "
     "notes, times and the order shown. Can be imported again without loss."),
    ("pairs", "Pairs", "For reward models and DPO: chosen and rejected, each with its weight 1 / C(K, 2)."),
    ("demonstrations", "Demonstrations", "For SFT: the texts that people wrote, or the outputs that they rank best."),
    ("csv", "Table", "A row for each output of each judgement, for a spreadsheet. Formulas are quoted."),
    ("csv_pairs", "Table of pairs", "The pairs, for a spreadsheet."),
)  # fmt: skip
TAKES = (
    ("all", "all judgements"),
    ("adjudicated", "settled groups only"),
    ("mean_rank", "consensus: mean rank"),
    ("majority", "consensus: majority"),
    ("dawid_skene", "consensus: Dawid-Skene (weighs annotators by how reliable they are)"),
)


@router.get("/projects/{project:int}/import")
def import_page(request: Request, project: int) -> HTMLResponse:
    """Where a file is given."""
    admin(request)
    with database(request).read() as connection:
        found = projects.find(connection, project)
    return page(request, "owner_import.html", project=found, here="import", done=None, wrong=None)


@router.post("/projects/{project:int}/import")
def import_file(request: Request, project: int, file: Annotated[UploadFile | None, File()] = None) -> HTMLResponse:
    """All of the file's groups, or, where something is wrong, none; says what was read."""
    who = admin(request)
    with database(request).read() as connection:
        found = projects.find(connection, project)
    given: dict[str, Any] = {"project": found, "here": "import", "done": None, "wrong": None}
    name = Path((file.filename if file else "") or "").name
    ending = ENDINGS.search(name.lower())
    if file is None or not ending:
        what = f"{name!r} has no ending that is known" if name else "no file was chosen"
        given["wrong"] = {
            "others": (),
            "what": what,
            "where": "",
            "fix": "give .jsonl, .json, .csv or .parquet (also .gz)",
        }
        return page(request, "owner_import.html", 422, **given)
    try:
        given["done"] = _import(request, project, file, ending.group(0), name, who.account.name)
    except (InputError, Refused) as error:
        lines = (*error.others, error.where, error.what, error.fix)
        *others, where, what, fix = (ASIDE.sub(lambda found: name, str(line)) for line in lines)
        given["wrong"] = {"others": others, "where": where, "what": what, "fix": fix}
        return page(request, "owner_import.html", 422, **given)
    return page(request, "owner_import.html", **given)


def _import(request: Request, project: int, file: UploadFile, ending: str, name: str, actor: str) -> dict[str, Any]:
    from accord.collect.importing import import_groups
    from accord.data.read import read_groups

    fields = form(request)
    judgements = HANDLINGS.get(str(fields.get("judgements", "keep")))
    if judgements is None:
        raise Invalid("keep, gold or drop", where="judgements")
    count: dict[str, Any] = {"k": {}, "prompts": 0}
    with tempfile.TemporaryDirectory(prefix="accord-import-") as folder:
        path = Path(folder) / f"upload{ending}"  # never the name that was sent
        with path.open("wb") as out:
            shutil.copyfileobj(file.file, out)
        done = import_groups(
            database(request), project, _counted(read_groups(path), count), actor=actor, judgements=judgements,
            sensitive="sensitive" in fields, now=time.time(),
        )  # fmt: skip
    sizes = ", ".join(f"{many:,} x {k}" for k, many in sorted(count["k"].items()))
    return {"name": name, "new": done.new, "same": done.same, "judgements": done.judgements, "sizes": sizes,
            "read": count["prompts"]}  # fmt: skip


def _counted(groups: Any, count: dict[str, Any]) -> Iterator[Any]:
    for one in groups:
        size = len(one.completions)
        count["k"][size] = count["k"].get(size, 0) + 1
        count["prompts"] += 1
        yield one


@router.get("/projects/{project:int}/export")
def export_page(request: Request, project: int) -> HTMLResponse:
    """What can be downloaded, and what was: with count and hash, as the log has them."""
    admin(request)
    with database(request).read() as connection:
        found = projects.find(connection, project)
        query = select(event).where(event.c.project_id == project, event.c.kind.like("export%"))
        rows = connection.execute(query.order_by(event.c.id.desc()).limit(10)).all()
    before = [{"at": row.at, "actor": row.actor, "detail": json.loads(row.detail)} for row in rows]
    return page(request, "owner_export.html", project=found, here="export", kinds=KINDS, takes=TAKES, before=before)


@router.get("/projects/{project:int}/example.jsonl")
def example(request: Request, project: int) -> Response:
    """A file of two groups, to begin from."""
    admin(request)
    rows = [
        {
            "id": "1",
            "prompt": "Why is the sky blue?",
            "completions": ["Because of Rayleigh scattering.", "It is painted."],
        },
        {"id": "2", "prompt": "Say hello in French.", "completions": ["Bonjour!", "Hallo!"]},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    headers = {"content-disposition": 'attachment; filename="example.jsonl"'}
    return Response(text, media_type="application/x-ndjson", headers=headers)
