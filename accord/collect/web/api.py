"""The JSON API, below /api/v1, and /health. OpenAPI describes it at /api/v1/openapi.json."""

from __future__ import annotations

from fastapi import APIRouter

from accord.collect import health
from accord.collect.web import api_labelling, api_people, api_projects

# Those that annotators wait for come first: addresses are looked for in this order.
router = APIRouter()
for part in (api_labelling, api_projects, api_people, health):
    router.routes.extend(part.router.routes)
