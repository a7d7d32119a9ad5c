"""Whether the server can work: for whoever restarts it when it cannot."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from sqlalchemy import text

from accord.collect.refusals import Busy
from accord.errors import AccordError

router = APIRouter()


class Health(BaseModel):
    """status: ok, or what does not work."""

    status: str


@router.get("/health", response_model=Health, responses={503: {"model": Health}}, tags=["health"])
def health(request: Request) -> Response:
    """200 where the database answers, 503 where it does not. Nothing else is said: anybody may ask."""
    status = "ok"
    try:
        with request.app.state.database.read() as connection:
            connection.execute(text("SELECT 1")).scalar_one()
    except Busy:
        status = "the database is busy"
    except AccordError:
        status = "the database does not answer"
    code = 200 if status == "ok" else 503
    return Response(
        f'{{"status":"{status}"}}', code, media_type="application/json", headers={"Cache-Control": "no-store"}
    )
