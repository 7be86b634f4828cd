"""The routes of deliveries: what is owed, to see, to wait for and to retry."""

import asyncio
import logging
import time
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request

from integration_service.access import CanOperate, CanRead
from integration_service.deliveries import service, store
from integration_service.deliveries.models import Delivery
from integration_service.deliveries.schemas import (
    DeliveryDetail,
    DeliveryOut,
    Dismissal,
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


# How soon a finished delivery is seen that no news came of.
RECHECK_SECONDS = 1.0
FINISHED = {"delivered", "skipped", "dead", "undone"}


async def _filter(
    state: Annotated[
        State | None, Query(description="Only those in this state.", examples=["delivered"])
    ] = None,
    route: Annotated[
        RouteName | None,
        Query(description="Only those of this route.", examples=["welcome-package"]),
    ] = None,
    q: Annotated[
        Line | None,
        Query(
            min_length=1,
            max_length=200,
            description="Search text: part of the customer's uid or name, or of the error.",
            examples=["Doe"],
        ),
    ] = None,
    sort: Sort = "id",
) -> Filter:
    return Filter(state, route, q, ascending=sort == "id")


DeliveryFilter = Annotated[Filter, Depends(_filter)]
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
    order = "id" if filters.ascending else "-id"
    run = database.read if filters.text is None else database.scan
    return paging.rows(await run(store.page, filters, paging.after(order), paging.limit), order)


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
