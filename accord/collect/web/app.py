"""The site as one application, made of its parts."""

from __future__ import annotations

import contextlib
import importlib
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from accord import __version__
from accord.collect import passwords
from accord.collect.database import Database
from accord.collect.web import context
from accord.collect.web.answers import answer
from accord.collect.web.config import ServerConfig
from accord.collect.web.pages import Static, environment, page
from accord.collect.web.security import Guard

__all__ = ["create_app", "page"]
PARTS = ("api", "account_pages", "label_pages", "owner_pages")  # in the order in which addresses are looked for


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

    for name in PARTS:
        with contextlib.suppress(ImportError):  # while they are being built
            router = importlib.import_module(f"accord.collect.web.{name}").router
            if name == "api":  # a router within a router takes a third of a request's time to find the way
                app.router.routes.extend(router.routes)
            else:
                app.include_router(router, include_in_schema=False)
    app.add_exception_handler(HTTPException, _answer)
    app.add_exception_handler(RequestValidationError, _answer)
    app.add_middleware(Guard, config=config, answer=answer, may_upload=context.may_upload)
    return app


async def _answer(request: Request, error: Exception) -> Response:
    """What FastAPI itself finds wrong, told as everything else is. (All other errors reach the guard.)"""
    return answer(request, error)
