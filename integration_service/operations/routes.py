"""The routes' routes: what events lead to, to see, to pause and to resume."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request

from integration_service.access import CanOperate, CanRead
from integration_service.ledger import control
from integration_service.operations import overview
from integration_service.operations.schemas import RouteOut
from integration_service.routes.definitions import Route
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


async def _routes(request: Request) -> Mapping[str, Route]:
    """Return the routes of this process's file."""
    known: Mapping[str, Route] = request.app.state.routes
    return known


Known = Annotated[Mapping[str, Route], Depends(_routes)]


@router.get("", summary="List routes", tags=["synchronisation"])
async def list_routes(database: DatabaseDep, _: CanRead, known: Known) -> list[RouteOut]:
    """List what events of the CRM lead to, with what is owed by each route."""
    return await database.scan(overview.routes, known.values(), clock.now())


@router.get(
    "/{name}",
    summary="Look up a route",
    tags=["synchronisation"],
    responses=documented(RouteNotFound),
)
async def get_route(name: Name, database: DatabaseDep, _: CanRead, known: Known) -> RouteOut:
    """Show what a route does, how far it has read the feed, and what is owed by it."""
    return await database.scan(overview.route, _one(known, name), clock.now())


@router.post(
    "/{name}/pause",
    summary="Stop sending what a route owes",
    tags=["control"],
    responses=documented(RouteNotFound),
)
async def pause_route(name: Name, database: DatabaseDep, who: CanOperate, known: Known) -> RouteOut:
    """Send nothing of this route until `POST /routes/{name}/resume`, over restarts too.

    What is under way is finished. The feed is still read, so nothing is forgotten, and no delivery
    grows older meanwhile. Pausing twice is pausing once.
    """
    route = _one(known, name)
    if await database.write(control.pause_route, name, clock.now(), who):
        logger.info("%s pauses the route %s.", who.name, name)
    return await database.scan(overview.route, route, clock.now())


@router.post(
    "/{name}/resume",
    summary="Send again what a route owes",
    tags=["control"],
    responses=documented(RouteNotFound),
)
async def resume_route(
    name: Name,
    database: DatabaseDep,
    who: CanOperate,
    known: Known,
    *,
    accept_gap: Annotated[
        bool, Query(description="Go on although events are gone that were not read.")
    ] = False,
    start: Annotated[
        Literal["oldest", "newest"],
        Query(
            alias="from",
            description="Where to go on after a gap: at the oldest event that is left, or behind "
            "all that there are. What the route has sent before is not sent again.",
        ),
    ] = "oldest",
) -> RouteOut:
    """Undo `POST /routes/{name}/pause`. `POST /pause` is undone by `POST /resume` alone.

    Where events are gone that a webhook's route has not read (its feed's state is `gap`), it goes
    on only with `accept_gap`.
    """
    route = _one(known, name)
    if await database.write(control.resume_route, name, who):
        logger.info("%s resumes the route %s.", who.name, name)
    if accept_gap and await database.write(control.accept_gap, name, start, who):
        logger.warning("%s accepts the gap of the route %s.", who.name, name)
    return await database.scan(overview.route, route, clock.now())


def _one(known: Mapping[str, Route], name: str) -> Route:
    if (found := known.get(name)) is None:
        raise RouteNotFound("There is no route with this name.")
    return found
