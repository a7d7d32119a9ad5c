"""The JSON API, below /api/v1, and /health. OpenAPI describes it at /api/v1/openapi.json."""

from __future__ import annotations

from fastapi import APIRouter, Security
from fastapi.security import HTTPBearer

from accord.collect import health
from accord.collect.web import api_labelling, api_people, api_projects

PREFIX = "/api/v1"
# For the description only: who asks is found out in `context`, which knows sessions, too.
TOKEN = HTTPBearer(auto_error=False, description="A token of an account: read, label or admin.")

router = APIRouter()
router.include_router(health.router)
for part in (api_labelling, api_projects, api_people):
    router.include_router(part.router, prefix=PREFIX, dependencies=[Security(TOKEN)])
