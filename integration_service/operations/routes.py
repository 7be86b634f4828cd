"""The routes' routes: what events lead to, to see, to pause and to resume."""

import logging
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path

from integration_service.access import CanOperate, CanRead
from integration_service.ledger import control
from integration_service.operations import overview
from integration_service.operations.schemas import RouteOut
from integration_service.routes.definitions import ROUTES, Route
from service_kit.problems import Problem
from service_kit.process import clock
from service_kit.web.auth import GuardedRoute
from service_kit.web.dependencies import DatabaseDep
from service_kit.web.openapi import documented

logger = logging.getLogger("integration_service")
router = APIRouter(prefix="/routes", route_class=GuardedRoute)


class RouteNotFound(Problem):
    """There is no route with this name."""

    status = HTTPStatus.NOT_FOUND
    slug = "route-not-found"


Name = Annotated[
    str, Path(max_length=40, description="The route's name.", examples=["welcome-package"])
]


@router.get("", summary="List routes", tags=["synchronisation"])
async def list_routes(database: DatabaseDep, _: CanRead) -> list[RouteOut]:
    """List what events of the CRM lead to, with what is owed by each route."""
    return [await database.scan(overview.route, route, clock.now()) for route in ROUTES.values()]


@router.get(
    "/{name}",
    summary="Look up a route",
    tags=["synchronisation"],
    responses=documented(RouteNotFound),
)
async def get_route(name: Name, database: DatabaseDep, _: CanRead) -> RouteOut:
    """Show what a route does, how far it has read the feed, and what is owed by it."""
    return await database.scan(overview.route, _known(name), clock.now())


@router.post(
    "/{name}/pause",
    summary="Stop sending what a route owes",
    tags=["control"],
    responses=documented(RouteNotFound),
)
async def pause_route(name: Name, database: DatabaseDep, who: CanOperate) -> RouteOut:
    """Send nothing of this route until `POST /routes/{name}/resume`, over restarts too.

    What is under way is finished. The feed is still read, so nothing is forgotten, and no delivery
    grows older meanwhile. Pausing twice is pausing once.
    """
    route = _known(name)
    if await database.write(control.pause_route, name, clock.now(), who):
        logger.info("%s pauses the route %s.", who.name, name)
    return await database.scan(overview.route, route, clock.now())


@router.post(
    "/{name}/resume",
    summary="Send again what a route owes",
    tags=["control"],
    responses=documented(RouteNotFound),
)
async def resume_route(name: Name, database: DatabaseDep, who: CanOperate) -> RouteOut:
    """Undo `POST /routes/{name}/pause`. `POST /pause` is undone by `POST /resume` alone."""
    route = _known(name)
    if await database.write(control.resume_route, name, who):
        logger.info("%s resumes the route %s.", who.name, name)
    return await database.scan(overview.route, route, clock.now())


def _known(name: str) -> Route:
    if (route := ROUTES.get(name)) is None:
        raise RouteNotFound("There is no route with this name.")
    return route
