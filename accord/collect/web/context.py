"""Who asks, and what they may do: one call at the start of every endpoint."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Literal
from urllib.parse import quote

from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request

from accord.collect import sessions, tokens
from accord.collect.database import Database
from accord.collect.refusals import Busy, Full, NotAllowed, NotKnown
from accord.collect.roles import Account
from accord.collect.web.config import ServerConfig

SAFE = ("GET", "HEAD")
ORIGIN = "this request comes from another site, or from a page that is out of date"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks. csrf, session: with a session; scope: "session", or what the token may do."""

    account: Account
    csrf: str | None
    scope: Literal["session", "read", "label", "admin"]
    session: str | None = None


class ToLogin(Exception):
    """A page for which one has to log in first; afterwards one is there."""

    def __init__(self, request: Request) -> None:
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        self.to = "/login" + (f"?next={quote(here, safe='')}" if request.method in SAFE and here != "/" else "")


def database(request: Request) -> Database:
    found: Database = request.app.state.database
    return found


def config(request: Request) -> ServerConfig:
    found: ServerConfig = request.app.state.config
    return found


def is_api(request: Request) -> bool:
    """Whether answers are JSON rather than pages."""
    return request.url.path.startswith("/api/") or request.url.path == "/health"


def form(request: Request) -> ImmutableMultiDict[str, str]:
    """The fields of a form that was sent; .getlist for several of one name."""
    state = request.scope.get("state", {})
    fields = state.get("form") or getattr(request, "_form", None)  # the latter: a form with files, read by FastAPI
    return fields if fields is not None else ImmutableMultiDict()


def visitor(request: Request) -> Visitor:
    """Who asks. Not logged in: NotKnown for the API, the login for a page. NotAllowed: not sent by a page of ours."""
    found = known(request)
    if found is None:
        if is_api(request):
            raise NotKnown("nobody is logged in", fix="log in, or send Authorization: Bearer with a token")
        raise ToLogin(request)
    if found.scope == "session" and request.method not in SAFE:
        check_origin(request)
        if not secrets.compare_digest(sent_csrf(request).encode(), str(found.csrf).encode()):
            raise NotAllowed(ORIGIN, fix="load the page again, and repeat")
    return found


def known(request: Request) -> Visitor | None:
    """Who asks, if that can be told; nothing else is checked."""
    authorization = request.headers.get("authorization", "")
    if authorization and is_api(request):
        found = _by_token(request, authorization)
    else:
        found = _by_session(request)
    request.state.visitor = found
    return found


def _by_token(request: Request, authorization: str) -> Visitor | None:
    kind, _, text = authorization.partition(" ")
    if kind.lower() != "bearer":
        return None
    with database(request).read() as connection:
        found = tokens.find(connection, text.strip(), time.time())
    return None if found is None else Visitor(found[0], None, found[1])


def _by_session(request: Request) -> Visitor | None:
    cookie = request.cookies.get(config(request).cookie)
    if not cookie:
        return None
    now = time.time()
    with database(request).read() as connection:
        session = sessions.find(connection, cookie, now)
    if session is None:
        return None
    if now - session.seen > sessions.TOUCH:
        try:
            with database(request).write() as connection:
                sessions.touch(connection, session.hash, now)
        except (Busy, Full):  # reading goes on; the next request tries again
            pass
    return Visitor(session.account, session.csrf, "session", session.hash)


def check_origin(request: Request) -> None:
    """NotAllowed unless a page of this site sent it. Browsers say so themselves, and pages cannot make them lie."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    ours = (config(request).origin, f"{'https' if config(request).https else 'http'}://{request.headers.get('host')}")
    if origin is not None and origin != "null" and origin not in ours:
        raise NotAllowed(ORIGIN, fix=f"use {config(request).origin}")
    if site != "same-origin" and (site is not None or origin not in ours):
        raise NotAllowed(ORIGIN, fix=f"use {config(request).origin}")


def sent_csrf(request: Request) -> str:
    """What a page sends along to show that it is ours: a header from programs, a field from forms."""
    return request.headers.get("x-csrf-token") or str(form(request).get("csrf", ""))


def admin(request: Request) -> Visitor:
    """An admin; with a token, one of scope admin for what changes something."""
    return _may(visitor(request), ("admin",), "read" if request.method in SAFE else "admin")


def annotator(request: Request) -> Visitor:
    """An annotator or admin; with a token, one of scope label for what changes something."""
    return _may(visitor(request), ("annotator", "admin"), "read" if request.method in SAFE else "label")


def viewer(request: Request) -> Visitor:
    """Who sees numbers: a viewer or admin."""
    return _may(visitor(request), ("viewer", "admin"), "read" if request.method in SAFE else "admin")


def _may(found: Visitor, roles: tuple[str, ...], scope: str) -> Visitor:
    order = ("read", "label", "admin", "session")
    if found.account.role not in roles:
        raise NotAllowed(f"this is not for {found.account.role}s", fix="ask an admin")
    if order.index(found.scope) < order.index(scope):
        raise NotAllowed(f"this token may {found.scope} only", fix=f"make one of scope {scope}")
    return found


def may_upload(request: Request) -> bool:
    """Whether more than a megabyte is read of what this sender sends: only an admin imports groups."""
    found = known(request)
    return found is not None and found.account.role == "admin" and found.scope in ("admin", "session")


def address(request: Request) -> str:
    """From where it comes; of IPv6 the network, all of which is one customer's.

    What a proxy says of it is believed only if config names that proxy.
    """
    here = request.client.host if request.client else ""
    forwarded = [
        part.strip() for part in ",".join(request.headers.getlist("x-forwarded-for")).split(",") if part.strip()
    ]
    while here in config(request).proxies and forwarded:
        here = forwarded.pop()
    try:
        ip = ip_address(here)
    except ValueError:
        return here[:60]
    return str(ip_network((ip, 64), strict=False)) if isinstance(ip, IPv6Address) and not ip.ipv4_mapped else str(ip)
