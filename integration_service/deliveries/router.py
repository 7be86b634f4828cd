"""The routes of deliveries: what is owed, to see, to wait for and to retry."""

import asyncio
import logging
import time
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request

from integration_service.access import CanOperate, CanRead
from integration_service.deliveries import minutes, replay, service, store
from integration_service.deliveries.models import Delivery
from integration_service.deliveries.schemas import (
    DeliveriesPerMinute,
    DeliveryDetail,
    DeliveryOut,
    Dismissal,
    HeldBecause,
    ReplayOrder,
    ReplayResult,
    RetryOrder,
    RetryResult,
    RouteName,
    State,
)
from integration_service.deliveries.service import DeliveryNotFound, NotRetryable
from integration_service.deliveries.store import Filter
from service_kit.problems import Problem, ServiceUnavailable
from service_kit.process import clock
from service_kit.process.stopping import Stopping
from service_kit.web.auth import GuardedRoute
from service_kit.web.dependencies import DatabaseDep
from service_kit.web.fields import Line
from service_kit.web.openapi import documented
from service_kit.web.overload import slot_of
from service_kit.web.paging import PagingDep, Sort

logger = logging.getLogger("integration_service")
router = APIRouter(prefix="/deliveries", route_class=GuardedRoute)
of_routes = APIRouter(prefix="/routes/{name}/deliveries", route_class=GuardedRoute)


# How soon a finished delivery is seen that no news came of.
RECHECK_SECONDS = 1.0
FINISHED = {"delivered", "skipped", "dead", "undone"}


OfRoute = Annotated[
    RouteName | None,
    Query(description="Only those of this route.", examples=["welcome-package"]),
]


async def _filter(
    state: Annotated[
        State | None, Query(description="Only those in this state.", examples=["delivered"])
    ] = None,
    route: OfRoute = None,
    q: Annotated[
        Line | None,
        Query(
            min_length=1,
            max_length=200,
            description="Search text: part of the customer's uid or name, or of the error.",
            examples=["Doe"],
        ),
    ] = None,
    held_because: Annotated[
        HeldBecause | None,
        Query(description="Only those that are not sent now for this reason.", examples=["paused"]),
    ] = None,
    sort: Sort = "id",
) -> Filter:
    return Filter(state, route, q, held_because, ascending=sort == "id")


DeliveryFilter = Annotated[Filter, Depends(_filter)]
RouteInPath = Annotated[
    Line,
    Path(
        alias="name", max_length=40, description="The route's name.", examples=["welcome-package"]
    ),
]
Subject = Annotated[
    Line,
    Path(
        max_length=64,
        description="What it is for: the event's id; of the inventory route, the customer's uid.",
    ),
]
CustomerUid = Annotated[Line, Path(max_length=64, description="The customer's uid in the CRM.")]


class DeliveryUnfinished(Problem):
    """It was not finished in time; `state` says how far it is, null where it is not known yet."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    slug = "delivery-unfinished"


@router.get(
    "", summary="List deliveries", tags=["synchronisation"], response_model=list[DeliveryOut]
)
async def list_deliveries(
    database: DatabaseDep, _: CanRead, paging: PagingDep, filters: DeliveryFilter
) -> list[Delivery]:
    """List deliveries, newest last."""
    if filters.route is not None:
        await database.read(service.known_route, filters.route)
    order = "id" if filters.ascending else "-id"
    is_cheap = filters.text is None and filters.held_because is None
    run = database.read if is_cheap else database.scan
    return paging.rows(await run(store.page, filters, paging.after(order), paging.limit), order)


# Before the look-up of one, which would take it for a uid.
@router.get("/per-minute", summary="Count deliveries by the minute", tags=["synchronisation"])
async def count_deliveries_per_minute(
    database: DatabaseDep, _: CanRead, route: OfRoute = None
) -> DeliveriesPerMinute:
    """Count what was delivered, and what failed, in each minute of the last 24 hours."""
    if route is not None:
        await database.read(service.known_route, route)
    return await database.scan(minutes.per_minute, clock.now(), route)


@router.get(
    "/{customer_uid}",
    summary="Look up a delivery",
    tags=["synchronisation"],
    responses=documented(DeliveryNotFound),
)
async def get_delivery(
    customer_uid: CustomerUid, database: DatabaseDep, _: CanRead
) -> DeliveryDetail:
    """Show one customer's delivery with every attempt."""
    return await database.read(service.show, customer_uid)


@router.get(
    "/{customer_uid}/wait",
    summary="Wait for a delivery",
    tags=["synchronisation"],
    responses=documented(DeliveryUnfinished, ServiceUnavailable),
)
async def wait_for_delivery(
    request: Request,
    customer_uid: CustomerUid,
    database: DatabaseDep,
    _: CanRead,
    timeout: Annotated[  # noqa: ASYNC109 (the contract's name)
        float, Query(ge=0, le=60, description="Seconds to wait at most.")
    ] = 60,
) -> DeliveryDetail:
    """Answer as soon as the delivery is finished: delivered, skipped, dead or undone.

    It also waits for customers whom the feed has not reported yet, so you can wait as soon as the
    CRM has answered. 504 when it takes longer.
    """
    stopping: Stopping = request.app.state.stopping
    give_up_at = time.monotonic() + timeout
    with slot_of(request).waiting(timeout):
        while True:
            # Taken before looking, so that no news falls between.
            next_commit = database.committed.next()
            found = await database.read(store.find, customer_uid)
            if found is not None and found.state in FINISHED:
                return await database.read(service.show, customer_uid)
            left = give_up_at - time.monotonic()
            if stopping.begun:
                raise ServiceUnavailable("The service is stopping. Ask again.")
            if left <= 0:
                raise DeliveryUnfinished(
                    "It is not finished yet."
                    if found
                    else "The feed has not reported this customer.",
                    state=found and found.state,
                )
            await stopping.sleep(min(left, RECHECK_SECONDS), asyncio.shield(next_commit))


@router.post(
    "/{customer_uid}/retry",
    summary="Retry a delivery",
    tags=["control"],
    response_model=DeliveryOut,
    responses=documented(DeliveryNotFound, NotRetryable),
)
async def retry_delivery(
    customer_uid: CustomerUid, database: DatabaseDep, who: CanOperate
) -> Delivery:
    """Send one delivery again: a dead one from the start, one that waits without waiting.

    It is the same request to Inventory, which answers what it already has, and its past attempts
    stay on record. One that was dismissed is sent after all. One that is pending, delivered,
    undone or skipped otherwise is left as it is, so this is safe to repeat; the answer's `state`
    tells. One whose customer was erased is refused: nothing more is sent.
    """
    row = await database.write(service.retry, customer_uid, clock.now(), who)
    logger.info("%s retries the delivery for customer ID: %s", who.name, customer_uid)
    return row


@router.post(
    "/{customer_uid}/dismiss",
    summary="Settle a dead delivery",
    tags=["control"],
    responses=documented(DeliveryNotFound),
)
async def dismiss_delivery(
    customer_uid: CustomerUid, dismissal: Dismissal, database: DatabaseDep, who: CanOperate
) -> DeliveryDetail:
    """Settle a dead delivery that needs no package: it is `skipped` from now on.

    Its error and its attempts stay on record, beside who dismissed it, when, and why. One that is
    not dead is left as it is, so this is safe to repeat; the answer's `state` tells. A retry takes
    it back, unless it is unreadable.
    """
    now = clock.now()
    if await database.write(service.dismiss, customer_uid, dismissal.reason, now, who):
        logger.info(
            "%s dismisses the delivery for customer ID: %s: %s",
            who.name,
            customer_uid,
            dismissal.reason,
        )
    return await database.read(service.show, customer_uid)


@router.post("/replay", summary="Send a range again", tags=["control"])
async def replay_deliveries(
    wanted: ReplayOrder, database: DatabaseDep, who: CanOperate
) -> ReplayResult:
    """Send again what a route has sent of the events from one position of the feed to another.

    Each has the identity that it had: a receiver that remembers `webhook-id` ignores it, and
    Inventory answers with the package that is there. What was dismissed is sent too; what is
    skipped otherwise, or undone, is not. `dry_run` counts them.
    """
    done = await replay.replay(database, clock.now, wanted, who)
    if not wanted.dry_run:
        logger.info("%s replays %d deliveries of %s.", who.name, done.replayed, wanted.route)
    return done


@router.post("/retry", summary="Retry many deliveries", tags=["control"])
async def retry_deliveries(
    wanted: RetryOrder, database: DatabaseDep, who: CanOperate
) -> RetryResult:
    """Send all deliveries of a state, and an error class, again. `dry_run` lists them.

    Safe to repeat, also after an answer that was lost: what was retried is no longer among them.
    """
    done = await service.retry_many(database, clock.now, wanted, who)
    if not wanted.dry_run:
        logger.info("%s retries %d %s deliveries.", who.name, done.retried, wanted.state)
    return done


@of_routes.get(
    "",
    summary="List deliveries of a route",
    tags=["synchronisation"],
    response_model=list[DeliveryOut],
)
async def list_route_deliveries(
    name: RouteInPath, database: DatabaseDep, _: CanRead, paging: PagingDep, sort: Sort = "id"
) -> list[Delivery]:
    """List what one route owes, newest last. `GET /deliveries` has more filters."""
    filters = Filter(route=name, ascending=sort == "id")
    return paging.rows(
        await database.read(store.page, filters, paging.after(sort), paging.limit), sort
    )


@of_routes.get(
    "/{subject}",
    summary="Look up a delivery of a route",
    tags=["synchronisation"],
    responses=documented(DeliveryNotFound),
)
async def get_route_delivery(
    name: RouteInPath, subject: Subject, database: DatabaseDep, _: CanRead
) -> DeliveryDetail:
    """Show what a route owes for one event or customer, with every attempt."""
    return await database.read(service.show, subject, name)


@of_routes.post(
    "/{subject}/retry",
    summary="Retry a delivery of a route",
    tags=["control"],
    response_model=DeliveryOut,
    responses=documented(DeliveryNotFound, NotRetryable),
)
async def retry_route_delivery(
    name: RouteInPath, subject: Subject, database: DatabaseDep, who: CanOperate
) -> Delivery:
    """Send one delivery again, as `POST /deliveries/{customer_uid}/retry` does."""
    row = await database.write(service.retry, subject, clock.now(), who, name)
    logger.info("%s retries %s of the route %s.", who.name, subject, name)
    return row


@of_routes.post(
    "/{subject}/dismiss",
    summary="Settle a dead delivery of a route",
    tags=["control"],
    responses=documented(DeliveryNotFound),
)
async def dismiss_route_delivery(
    name: RouteInPath,
    subject: Subject,
    dismissal: Dismissal,
    database: DatabaseDep,
    who: CanOperate,
) -> DeliveryDetail:
    """Settle a dead delivery that needs no more: it is `skipped` from now on.

    Where the route keeps the order of each subject's events, later ones go on.
    """
    now, reason = clock.now(), dismissal.reason
    if await database.write(service.dismiss, subject, reason, now, who, name):
        logger.info("%s dismisses %s of the route %s: %s", who.name, subject, name, reason)
    return await database.read(service.show, subject, name)
