"""Is the process alive, can it do its work, what has it done: the routes that need no token."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from service_kit import VERSION
from service_kit.database import DatabaseUnavailable
from service_kit.web.auth import GuardedRoute, Public
from service_kit.web.dependencies import DatabaseDep
from service_kit.web.problems import log_unavailable
from service_kit.web.shared import SharedResponse

router = APIRouter(route_class=GuardedRoute, tags=["operations"], dependencies=[Public])


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = Field(examples=["ok"])


class Readiness(BaseModel):
    """Whether this instance should get traffic."""

    status: Literal["ok", "unavailable"] = Field(examples=["ok"])
    app_name: str = Field(examples=["crm_api"])
    version: str = Field(examples=[VERSION])
    environment: str = Field(examples=["development"])
    database: Literal["connected", "unreachable"] = Field(examples=["connected"])


@router.get("/health", summary="Is the process alive?")
async def health() -> Health:
    """Answer as long as the process runs, whatever else is broken."""
    return Health(status="ok")


@router.get(
    "/health/ready",
    summary="Can it do its work?",
    responses={503: {"model": Readiness, "description": "Send it no requests for now."}},
)
async def ready(request: Request, response: Response, database: DatabaseDep) -> Readiness:
    """Answer 200 when the database answers and every part of the service runs, else 503."""
    state = request.app.state
    try:
        await database.ping()
        reachable = True
    except DatabaseUnavailable as problem:
        log_unavailable(problem)
        reachable = False
    well = reachable and all(check() is None for check in state.readiness_checks)
    response.status_code = 200 if well else 503
    return Readiness(
        status="ok" if well else "unavailable",
        app_name=state.name,
        version=request.app.version,
        environment=state.settings.environment,
        database="connected" if reachable else "unreachable",
    )


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Answer all metrics of this instance in Prometheus' text format."""
    text, media_type = await request.app.state.metrics.exposition()
    return SharedResponse(text, media_type=media_type)
