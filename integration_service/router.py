"""The integration's routes."""

import asyncio
import time
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from integration_service.access import CanRead
from integration_service.ledger import views
from integration_service.ledger.store import DeliveryRow
from integration_service.poller import Poller
from integration_service.schemas import DeliveryDetail, DeliveryOut, State, Status
from service_kit.process import clock
from service_kit.process.health import DatabaseDep
from service_kit.process.stopping import Stopping
from service_kit.web.auth import GuardedRoute
from service_kit.web.fields import Line
from service_kit.web.openapi import documented
from service_kit.web.overload import place_of
from service_kit.web.paging import Cursor, Limit, link_next, number_after
from service_kit.web.problems import Problem, ServiceUnavailable

router = APIRouter(route_class=GuardedRoute, tags=["synchronisation"])


# How soon a finished delivery is seen that no news came of.
RECHECK_SECONDS = 1.0
FINISHED = {"delivered", "skipped", "dead", "undone"}

CustomerUid = Annotated[Line, Path(max_length=64, description="The customer's uid in the CRM.")]


class DeliveryUnfinished(Problem):
    """It was not finished in time; `state` says how far it is, null where it is not known yet."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    slug = "delivery-unfinished"


@router.get("/status", summary="The integration at a glance")
async def get_status(request: Request, database: DatabaseDep, _: CanRead) -> Status:
    """Answer how far the feed is read, what is owed, and whether both far sides can be reached."""
    poller: Poller = request.app.state.poller
    return await database.scan(views.status, clock.now(), poller.holder)


@router.get("/deliveries", summary="List deliveries", response_model=list[DeliveryOut])
async def list_deliveries(
    request: Request,
    response: Response,
    database: DatabaseDep,
    _: CanRead,
    state: Annotated[
        State | None, Query(description="Only those in this state.", examples=["delivered"])
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> list[DeliveryRow]:
    """List what is owed to whom, newest last."""
    page = await database.read(views.page, state, number_after(cursor, "id"), limit)
    link_next(request, response, page, "id")
    return page.rows


@router.get(
    "/deliveries/{customer_uid}",
    summary="Look up a delivery",
    responses=documented(views.DeliveryNotFound),
)
async def get_delivery(
    customer_uid: CustomerUid, database: DatabaseDep, _: CanRead
) -> DeliveryDetail:
    """Show one customer's delivery with every attempt."""
    return await database.read(views.delivery, customer_uid)


@router.get(
    "/deliveries/{customer_uid}/wait",
    summary="Wait for a delivery",
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

    It also waits for a customer whom the feed has not told of yet, so that one can be waited for
    as soon as the CRM has answered. 504 when it takes longer.
    """
    stopping: Stopping = request.app.state.stopping
    give_up_at = time.monotonic() + timeout
    with place_of(request).waiting(timeout):
        while True:
            beat = database.committed.next()  # taken before looking, so that no news falls between
            state = await database.read(views.state_of, customer_uid)
            if state in FINISHED:
                return await database.read(views.delivery, customer_uid)
            left = give_up_at - time.monotonic()
            if stopping.begun:
                raise ServiceUnavailable("The service is stopping. Ask again.")
            if left <= 0:
                raise DeliveryUnfinished(
                    "It is not finished yet."
                    if state
                    else "The feed has not told of this customer.",
                    state=state,
                )
            await stopping.sleep(min(left, RECHECK_SECONDS), asyncio.shield(beat))
