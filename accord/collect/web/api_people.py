"""The JSON API of owners: who there is, invitations, and the log."""

from __future__ import annotations

import json
import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select

from accord.collect import accounts, passwords
from accord.collect.schema import event
from accord.collect.web import api_bodies as bodies
from accord.collect.web.api_bodies import PREFIX, TOKEN, refusals
from accord.collect.web.api_shown import respond
from accord.collect.web.context import admin, config, database

router = APIRouter(prefix=PREFIX, tags=["people"], dependencies=[TOKEN])


@router.get("/accounts", response_model=bodies.AccountsBody, responses=refusals(401, 403))
def people(request: Request) -> Response:
    """Everybody, by name."""
    admin(request)
    with database(request).read() as connection:
        found = accounts.people(connection)
    return respond({"accounts": [_account(one) for one in found]})


def _account(one: accounts.Person) -> dict[str, object]:
    return {"id": one.id, "name": one.name, "role": one.role, "active": one.active, "sensitive": one.sensitive}


@router.post("/accounts", status_code=201, response_model=bodies.AccountBody, responses=refusals(401, 403, 409, 422))
def create(request: Request, body: bodies.AccountGiven) -> Response:
    """A new account with a password. An invitation is better: then nobody else has seen it."""
    who = admin(request)
    passwords.check_password(body.password, body.name)
    hashed = passwords.hash_password(body.password)
    with database(request).write() as connection:
        id = accounts.create_account(connection, body.name, body.role, hashed, who.account.name, time.time())
        made = accounts.find(connection, id)
    return respond(_account(made), 201)


@router.post("/invitations", status_code=201, response_model=bodies.InvitationBody, responses=refusals(401, 403, 404))
def invite(request: Request, body: bodies.InvitationGiven) -> Response:
    """A link that makes one account, once."""
    who = admin(request)
    with database(request).write() as connection:
        text = accounts.invite(connection, body.role, body.project, who.account.id, time.time())
    return respond({"link": f"{config(request).origin}/join/{text}"}, 201)


@router.get("/log", response_model=bodies.LogBody, responses=refusals(401, 403))
def log(
    request: Request,
    after: Annotated[int, Query(ge=0, le=bodies.MOST_ID, description="Rows after this one.")] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> Response:
    """What was done, by whom and when, the oldest first: each row with the hash of the one before it."""
    admin(request)
    query = select(event).where(event.c.id > after).order_by(event.c.id).limit(limit)
    with database(request).read() as connection:
        rows = [dict(row._mapping) for row in connection.execute(query)]
    return respond({"events": [{**row, "detail": json.loads(row["detail"])} for row in rows]})
