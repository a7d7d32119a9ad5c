"""Errors, told: as JSON to programs, as a page to people, and nothing of the inside to either."""

from __future__ import annotations

import logging
import secrets
from typing import Any, NamedTuple

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from accord.collect.refusals import Busy, Refused
from accord.collect.web.context import ToLogin, is_api
from accord.collect.web.pages import page
from accord.errors import InputError, ServiceError, StorageError

log = logging.getLogger("accord.collect")
RETRY = 2  # seconds after which who found the database busy may try again
TITLES = {
    400: "This cannot be read",
    401: "Log in first",
    403: "This is not allowed",
    404: "There is nothing here",
    405: "There is nothing here",
    409: "Something else came first",
    413: "This is too large",
    422: "Something is missing or wrong",
    429: "Too many attempts",
    503: "The site is busy",
    507: "There is no room left",
}


class Told(NamedTuple):
    """What is said of an error. fields: what is wrong where; retry: seconds."""

    status: int
    kind: str
    what: str
    fix: str = ""
    fields: dict[str, str] = {}  # noqa: RUF012 - never changed
    retry: int | None = None


def answer(request: Request, error: Exception) -> Response:
    """The response to a request that failed."""
    if isinstance(error, ToLogin):
        return RedirectResponse(error.to, 303)
    told = tell(request, error)
    headers = dict(getattr(error, "headers", None) or {})
    if told.retry is not None:
        headers["retry-after"] = str(told.retry)
    response: Response
    if is_api(request):
        if told.status == 401:
            headers["www-authenticate"] = "Bearer"
        content = {"kind": told.kind, "what": told.what, "fix": told.fix, "fields": told.fields}
        response = JSONResponse({"error": content}, told.status)
    else:
        title = TITLES.get(told.status, "Something went wrong")
        response = page(request, "error.html", told.status, title=title, told=told)
    response.headers.update(headers)
    return response


def tell(request: Request, error: Exception) -> Told:
    """An error as it is said outside. What nobody foresaw is logged under a word, and only the word is said."""
    if isinstance(error, Refused):
        what = f"{error.where}: {error.what}" if error.where else error.what
        return Told(error.status, error.kind, what, error.fix, error.fields, error.retry_after)
    if isinstance(error, InputError):
        what = f"{error.where}: {error.what}" if error.where else error.what
        return Told(422, "invalid", what, error.fix)
    if isinstance(error, RequestValidationError):
        return _not_valid(error)
    if isinstance(error, HTTPException):
        return _http(error)
    if isinstance(error, Busy):
        return Told(503, "busy", "the database is busy", "try again in a moment", retry=RETRY)
    if isinstance(error, ServiceError | StorageError):
        log.error("%s %s: %s", request.method, request.url.path, error)  # names the database: not for everybody
        if isinstance(error, StorageError):
            return Told(507, "full", "this could not be stored: no room is left", "tell an admin; keep this page open")
        return Told(503, "unreachable", "the database cannot be reached", "try again in a moment", retry=10)
    word = secrets.token_hex(4)
    log.error("%s %s failed (%s)", request.method, request.url.path, word, exc_info=error)
    return Told(
        500, "failed", f"something went wrong here ({word})", "try again; the server's log has more at this word"
    )


def _not_valid(error: RequestValidationError) -> Told:
    """What FastAPI finds of a body or an address. A body that is no JSON at all is one that cannot be read."""
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return Told(400, "wrong", "the body is no JSON", "send one JSON value")
    fields = {_where(one["loc"]): str(one["msg"]) for one in found}
    where, what = next(iter(fields.items()), ("", "something is wrong"))
    return Told(422, "invalid", f"{where}: {what}" if where else what, "", fields)


def _where(place: tuple[Any, ...]) -> str:
    parts = [str(part) for part in place]
    return ".".join(parts[1:] or parts)


def _http(error: HTTPException) -> Told:
    if error.status_code in (404, 405):
        kind = {404: "not_there", 405: "wrong"}[error.status_code]
        return Told(error.status_code, kind, "there is nothing at this address", "go back, or start at the first page")
    return Told(error.status_code, "wrong", "the request cannot be read", "check what was sent")
