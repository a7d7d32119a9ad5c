"""Templates and static files: read once, served from memory, named by what they hold so that browsers may keep them."""

from __future__ import annotations

import hashlib
import mimetypes
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from accord.collect.refusals import NotThere

HERE = Path(__file__).parent
KEPT = "public, max-age=31536000, immutable"


class Static:
    """The files of static/. All are under one address that is made of what all hold: so one may name another."""

    def __init__(self, folder: Path = HERE / "static") -> None:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self.files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        whole = hashlib.sha256()
        for name, content in self.files.items():
            whole.update(f"{name}\0{len(content)}\0".encode() + content)
        self.version = whole.hexdigest()[:16]

    def address(self, name: str) -> str:
        """Where a file is, for a page; our own mistake if there is none."""
        assert name in self.files, f"no static file {name}"
        return f"/static/{self.version}/{name}"

    def response(self, version: str, name: str) -> Response:
        """The file; to be kept only under the address of what it holds now. NotThere: there is none."""
        if name not in self.files:
            raise NotThere("no such file", where=name)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        kind = "text/javascript" if name.endswith(".js") else kind
        cache = KEPT if version == self.version else "no-store"
        return Response(self.files[name], media_type=kind, headers={"cache-control": cache})


def environment(static: Static) -> Environment:
    """The templates. Everything in them is escaped, and a name that nobody gave is an error."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["static"] = static.address
    made.filters["moment"] = moment
    return made


def moment(seconds: float) -> str:
    """3 Feb 2026, 14:05 UTC"""
    at = datetime.fromtimestamp(seconds, UTC)
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A template, filled. Each is given visitor (None before a login), csrf, insecure, request and static(name)."""
    found = getattr(request.state, "visitor", None)
    always = {"request": request, "visitor": found, "csrf": found.csrf if found else ""}
    always["insecure"] = request.app.state.config.insecure
    made: Environment = request.app.state.templates
    return HTMLResponse(made.get_template(template).render({**always, **values}), status)
