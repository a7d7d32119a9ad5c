"""The site as one application, made of its parts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from accord import __version__
from accord.collect import passwords
from accord.collect.database import Database
from accord.collect.web import account_pages, api, context, label_pages, owner_pages
from accord.collect.web.answers import answer
from accord.collect.web.config import ServerConfig
from accord.collect.web.pages import Static, environment
from accord.collect.web.security import Guard


def create_app(database: Database, config: ServerConfig) -> FastAPI:
    """The site over a database that is open; nothing runs yet."""
    app = FastAPI(
        title="Accord",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_url="/api/v1/openapi.json",
    )
    static = Static()
    app.state.database, app.state.config = database, config
    app.state.templates = environment(static)
    # Logins wait here for one another, and so never in the threads that answer everything else.
    app.state.hashing = ThreadPoolExecutor(passwords.AT_ONCE, thread_name_prefix="accord-hashing")

    @app.get("/static/{version}/{name:path}", include_in_schema=False)
    async def file(version: str, name: str) -> Response:
        return static.response(version, name)

    # What annotators wait for is looked for first; a router within a router takes a third of a request's time.
    app.router.routes.extend(api.router.routes)
    for part in (account_pages, label_pages, owner_pages):
        app.include_router(part.router, include_in_schema=False)
    app.add_exception_handler(HTTPException, _answer)
    app.add_exception_handler(RequestValidationError, _answer)
    app.add_middleware(Guard, config=config, answer=answer, may_upload=context.may_upload)
    return app


async def _answer(request: Request, error: Exception) -> Response:
    """What FastAPI itself finds wrong, told as everything else is. (All other errors reach the guard.)"""
    return answer(request, error)
