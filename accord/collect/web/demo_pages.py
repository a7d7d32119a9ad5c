"""The front page of `accord collect demo`, from which one enters without a password. No other server has it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from accord.collect import accounts
from accord.collect.refusals import NotThere
from accord.collect.roles import Account
from accord.collect.web import context
from accord.collect.web.account_pages import begin
from accord.collect.web.pages import page

router = APIRouter()
WHO = {"annotator": ("Ann", "/home"), "owner": ("Olive", "/projects/1")}  # who enters, and where they begin


@router.get("/demo")
def front(request: Request) -> Response:
    """Two doors."""
    context.known(request)
    return page(request, "demo.html")


@router.post("/demo/{role}")
def enter(request: Request, role: str) -> Response:
    """Through one of them. NotThere: a third one."""
    context.check_origin(request)
    if role not in WHO:
        raise NotThere("no such door", where=role)
    name, target = WHO[role]
    with context.database(request).read() as connection:
        person = accounts.find(connection, name)
    account = Account(person.id, person.name, person.role, person.sensitive)
    return begin(request, account, target)
