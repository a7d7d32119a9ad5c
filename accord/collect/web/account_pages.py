"""Logging in and out, joining by an invitation, and one's own account."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

from fastapi import APIRouter
from sqlalchemy import func, select
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from accord.collect import accounts, names, passwords, projects, sessions, tokens
from accord.collect.refusals import Invalid, NotAllowed, Refused
from accord.collect.roles import SCOPES, Account
from accord.collect.schema import session
from accord.collect.web import context
from accord.collect.web.pages import page

router = APIRouter()
DONE = {
    "password": "Your password is changed, and you are logged out everywhere else.",
    "revoked": "The token is revoked.",
    "sessions": "You are logged out everywhere else.",
    "sensitive": "Your choice is stored.",
}


@router.get("/")
def first(request: Request) -> Response:
    """Where one begins."""
    return RedirectResponse("/home" if context.known(request) else "/login", 303)


@router.get("/login")
def login_page(request: Request) -> Response:
    """The form; who is logged in already goes on."""
    if context.known(request):
        return RedirectResponse(local(request.query_params.get("next", "")), 303)
    return _early(request, "login.html", name="", next=request.query_params.get("next", ""), wrong=None)


@router.post("/login")
async def login(request: Request) -> Response:
    """Name and password against a new session. It waits for its turn where nothing else waits."""
    pool = request.app.state.hashing
    return await asyncio.get_running_loop().run_in_executor(pool, _login, request)


def _login(request: Request) -> Response:
    form = context.form(request)
    name, target = form.get("name", ""), form.get("next", "")
    try:
        _check_early(request)
        now = time.time()
        address = context.address(request)
        account = accounts.authenticate(context.database(request), name, form.get("password", ""), address, now)
    except Refused as refused:
        response = _early(request, "login.html", refused.status, name=name, next=target, wrong=refused)
        if refused.retry_after is not None:
            response.headers["retry-after"] = str(refused.retry_after)
        return response
    return begin(request, account, local(target))


def begin(request: Request, account: Account, target: str) -> Response:
    """A session of a new number: one that the browser held before, whoever gave it to it, counts no more."""
    config = context.config(request)
    with context.database(request).write() as connection:
        if before := request.cookies.get(config.cookie):
            sessions.end(connection, before)
        cookie = sessions.start(connection, account.id, time.time())
    response = RedirectResponse(target, 303)
    age = int(sessions.LONGEST)
    response.set_cookie(
        config.cookie, cookie, max_age=age, path="/", secure=config.https, httponly=True, samesite="lax"
    )
    response.delete_cookie(config.early_cookie, path="/", secure=config.https, httponly=True, samesite="lax")
    return response


@router.post("/logout")
def logout(request: Request) -> Response:
    """The session ends here, whatever the browser keeps."""
    context.visitor(request)
    config = context.config(request)
    with context.database(request).write() as connection:
        sessions.end(connection, request.cookies[config.cookie])
    response = RedirectResponse("/login", 303)
    response.delete_cookie(config.cookie, path="/", secure=config.https, httponly=True, samesite="lax")
    return response


@router.get("/join/{text}")
def join_page(request: Request, text: str) -> Response:
    """What an invitation is for, and the form. Looking at it uses nothing up."""
    return _join_form(request, text)


def _join_form(request: Request, text: str, wrong: Refused | None = None) -> Response:
    with context.database(request).read() as connection:
        found = accounts.invited(connection, text, time.time())
        project = None if found.project_id is None else projects.find(connection, found.project_id).name
    values = {"role": found.role, "project": project, "name": context.form(request).get("name", ""), "wrong": wrong}
    return _early(request, "join.html", 200 if wrong is None else wrong.status, text=text, **values)


@router.post("/join/{text}")
def join(request: Request, text: str) -> Response:
    """An account of the name and password that were chosen, once; one is logged in."""
    form, database = context.form(request), context.database(request)
    name, password = form.get("name", ""), form.get("password", "")
    try:
        _check_early(request)
        with database.read() as connection:
            accounts.invited(connection, text, time.time())
        names.checked(name)
        _same_twice(password, form.get("repeat", ""))
        passwords.check_password(password, name)
        hashed = passwords.hash_password(password)
        with database.write() as connection:
            account = accounts.accept(connection, text, name, hashed, time.time())
    except Refused as refused:
        return _join_form(request, text, refused)
    return begin(request, account, "/home")


@router.get("/account")
def account_page(request: Request) -> Response:
    """One's own account."""
    return _account(request, context.visitor(request), done=DONE.get(request.query_params.get("done", "")))


@router.post("/account/password")
def change_password(request: Request) -> Response:
    """Another password, for who knows the present one. All other sessions end."""
    visitor, form, database = context.visitor(request), context.form(request), context.database(request)
    password, now = form.get("password", ""), time.time()
    try:
        _same_twice(password, form.get("repeat", ""))
        passwords.check_password(password, visitor.account.name)
        if not accounts.password_is_right(database, visitor.account.id, form.get("current", ""), now):
            what = "this is not your present password"
            raise Invalid(what, fields={"current": what})
        hashed = passwords.hash_password(password)
        with database.write() as connection:
            name = visitor.account.name
            accounts.set_password(connection, visitor.account.id, hashed, name, now, keep=visitor.session)
    except Refused as refused:
        return _account(request, visitor, refused.status, wrong=refused, place="password")
    return RedirectResponse("/account?done=password", 303)


@router.post("/account/tokens")
def make_token(request: Request) -> Response:
    """A new token, shown on the page that answers and nowhere else."""
    visitor, form, now = context.visitor(request), context.form(request), time.time()
    try:
        days = form.get("days", "")
        if days not in {*map(str, tokens.DAYS), "never"}:
            raise Invalid("choose how long it holds", fields={"days": "choose one of these"})
        expires = None if days == "never" else now + 86400.0 * int(days)
        with context.database(request).write() as connection:
            owner, name = visitor.account, form.get("name", "")
            text = tokens.make(connection, owner, name, form.get("scope", ""), now, expires)
    except Refused as refused:
        return _account(request, visitor, refused.status, wrong=refused, place="token")
    return _account(request, visitor, token=text)


@router.post("/account/tokens/{id}/revoke")
def revoke_token(request: Request, id: int) -> Response:
    """One of one's own tokens ends."""
    visitor = context.visitor(request)
    with context.database(request).write() as connection:
        tokens.revoke(connection, visitor.account, id, time.time())
    return RedirectResponse("/account?done=revoked", 303)


@router.post("/account/sessions")
def end_sessions(request: Request) -> Response:
    """All other sessions end."""
    visitor = context.visitor(request)
    with context.database(request).write() as connection:
        sessions.end_all(connection, visitor.account.id, but=visitor.session)
    return RedirectResponse("/account?done=sessions", 303)


@router.post("/account/sensitive")
def choose_sensitive(request: Request) -> Response:
    """Whether one is shown groups that are marked as sensitive."""
    visitor = context.visitor(request)
    shown = context.form(request).get("shown") == "yes"
    with context.database(request).write() as connection:
        accounts.set_sensitive(connection, visitor.account.id, shown, visitor.account.name, time.time())
    return RedirectResponse("/account?done=sensitive", 303)


def _account(request: Request, visitor: context.Visitor, status: int = 200, **said: Any) -> Response:
    """The page of an account, with what was done or is wrong."""
    these = session.c.account_id == visitor.account.id
    with context.database(request).read() as connection:
        mine = tokens.tokens(connection, visitor.account.id)
        others = connection.execute(select(func.count()).where(these, session.c.hash != visitor.session)).scalar_one()
    values = {"tokens": mine, "others": others, "scopes": SCOPES[visitor.account.role], "days": tokens.DAYS}
    nothing = {"done": None, "wrong": None, "place": "", "token": None, "form": context.form(request)}
    return page(request, "account.html", status, **{**values, **nothing, **said}, now=time.time())


def _same_twice(password: str, repeat: str) -> None:
    if password != repeat:
        what = "the two passwords are not the same"
        raise Invalid(what, fields={"repeat": what})


def local(target: str) -> str:
    """Where to go after a login: a page of ours, whatever the address asked for."""
    inside = target.startswith("/") and not target.startswith(("//", "/\\", "/login"))
    return target if inside and target.isprintable() and "\\" not in target else "/home"


def _early(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """A form before a login: its token and the cookie say the same, and another site can read or set neither."""
    config = context.config(request)
    request.state.visitor = None
    held = request.cookies.get(config.early_cookie, "")
    value = held if len(held) == 43 else secrets.token_urlsafe(32)
    response = page(request, template, status, csrf=value, **values)
    response.set_cookie(config.early_cookie, value, path="/", secure=config.https, httponly=True, samesite="lax")
    return response


def _check_early(request: Request) -> None:
    """NotAllowed unless one of these forms was sent: else another site could log somebody in under its own name."""
    context.check_origin(request)
    held = request.cookies.get(context.config(request).early_cookie, "")
    if not held or not secrets.compare_digest(held.encode(), context.sent_csrf(request).encode()):
        raise NotAllowed("this page was open for too long, or cookies are off", fix="try again")
