"""The integration's routes."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from integration_service.ledger import views
from integration_service.ledger.store import DeliveryRow
from integration_service.poller import Poller
from integration_service.roles import CanOperate, CanRead
from integration_service.schemas import DeliveryDetail, DeliveryOut, PollAccepted, State, Status
from service_kit import clock
from service_kit.auth import GuardedRoute
from service_kit.fields import Line
from service_kit.health import DatabaseDep
from service_kit.openapi import documented
from service_kit.paging import Cursor, Limit, link_next, number_after
from service_kit.problems import Problem

router = APIRouter(route_class=GuardedRoute, tags=["synchronisation"])


class NotPolling(Problem):
    """Another process polls this database; GET /status names it."""

    status = HTTPStatus.CONFLICT
    slug = "not-polling"


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
    customer_uid: Annotated[
        Line, Path(max_length=64, description="The customer's uid in the CRM.")
    ],
    database: DatabaseDep,
    _: CanRead,
) -> DeliveryDetail:
    """Show one customer's delivery with every attempt."""
    return await database.read(views.delivery, customer_uid)


@router.post(
    "/poll",
    status_code=202,
    summary="Look at the feed now",
    responses=documented(NotPolling),
)
async def poll(request: Request, _: CanOperate) -> PollAccepted:
    """Look for new customers at once instead of when it is time."""
    poller: Poller = request.app.state.poller
    if poller.lease is None:
        raise NotPolling("Another process polls this database; GET /status names it.")
    poller.look_now()
    return PollAccepted()
