"""The routes by which operators see and steer the integration as a whole."""

import logging
from http import HTTPStatus

from fastapi import APIRouter, Request

from integration_service.access import CanOperate, CanRead
from integration_service.ledger import control
from integration_service.operations import overview
from integration_service.operations.schemas import Paused, PollAccepted, Status
from integration_service.poller.poller import Poller
from service_kit.database import Database
from service_kit.problems import Problem
from service_kit.process import clock
from service_kit.web.auth import GuardedRoute
from service_kit.web.dependencies import DatabaseDep
from service_kit.web.openapi import documented

logger = logging.getLogger("integration_service")
router = APIRouter(route_class=GuardedRoute)


class NotPolling(Problem):
    """No process polls at the moment."""

    status = HTTPStatus.CONFLICT
    slug = "not-polling"


@router.get("/status", summary="The integration at a glance", tags=["synchronisation"])
async def get_status(request: Request, database: DatabaseDep, _: CanRead) -> Status:
    """Show how far the feed is read, what is owed, and whether both services can be reached."""
    poller: Poller = request.app.state.poller
    routes = request.app.state.routes.values()
    return await database.scan(overview.status, clock.now(), poller.holder, routes)


@router.post("/pause", summary="Stop sending", tags=["control"])
async def pause(database: DatabaseDep, who: CanOperate) -> Paused:
    """Send nothing to Inventory until `POST /resume`, over restarts too; on all replicas.

    What is under way is finished. The feed is still read, so nothing is forgotten, and no delivery
    grows older meanwhile. Pausing twice is pausing once.
    """
    if await database.write(control.pause, clock.now(), who):
        logger.info("%s pauses the deliveries.", who.name)
    return await _paused(database)


@router.post("/resume", summary="Send again", tags=["control"])
async def resume(database: DatabaseDep, who: CanOperate) -> Paused:
    """Undo `POST /pause`. Does nothing where nothing is paused."""
    if await database.write(control.resume, who):
        logger.info("%s resumes the deliveries.", who.name)
    return await _paused(database)


@router.post(
    "/poll",
    status_code=202,
    summary="Look at the feed now",
    tags=["control"],
    responses=documented(NotPolling),
)
async def poll(database: DatabaseDep, _: CanOperate) -> PollAccepted:
    """Look for new customers and due deliveries at once, whichever replica polls."""
    if not await database.write(control.wake):
        raise NotPolling("No process polls at the moment; GET /status names the last one.")
    return PollAccepted()


async def _paused(database: Database) -> Paused:
    paused_at = (await database.read(control.control_state)).paused_at
    return Paused(paused=paused_at is not None, paused_at=paused_at)
