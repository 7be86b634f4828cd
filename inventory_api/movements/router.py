"""The routes of stock movements."""

from fastapi import APIRouter, Request, Response

from inventory_api.access import CanReadStock, CanWriteStock
from inventory_api.items import service as items
from inventory_api.items.models import Movement
from inventory_api.items.router import SkuInPath
from inventory_api.items.schemas import MovementNew, MovementOut
from inventory_api.movements import service
from inventory_api.tables import stored_answers
from service_kit.process.health import DatabaseDep
from service_kit.web.auth import GuardedRoute
from service_kit.web.idempotency import Answer, IdempotencyKeyReused, OnceDep, StillRunning
from service_kit.web.openapi import documented
from service_kit.web.paging import Cursor, Limit, link_next, number_after

router = APIRouter(prefix="/items/{sku}/movements", route_class=GuardedRoute, tags=["stock"])


@router.post(
    "",
    status_code=201,
    summary="Move stock",
    response_model=MovementOut,
    responses=documented(
        items.ItemNotFound,
        items.ItemUntracked,
        items.StockBelowReserved,
        StillRunning,
        IdempotencyKeyReused,
    ),
)
async def move_stock(
    sku: SkuInPath, new: MovementNew, database: DatabaseDep, who: CanWriteStock, once: OnceDep
) -> Response:
    """Record that stock came in, went out or was counted, never below what is reserved.

    Requests waiting for the item get it at once, the oldest first.
    """
    work = once.around(stored_answers, who, service.move_stock, _moved)
    outcome = await database.write(work, sku, new, who)
    return outcome.answer.response()


@router.get(
    "",
    summary="Read an item's ledger",
    response_model=list[MovementOut],
    responses=documented(items.ItemNotFound),
)
async def list_movements(
    sku: SkuInPath,
    request: Request,
    response: Response,
    database: DatabaseDep,
    _: CanReadStock,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> list[Movement]:
    """List every movement of the item, newest last; their sums are its levels."""
    page = await database.read(items.movements, sku, number_after(cursor, "id"), limit)
    link_next(request, response, page, "id")
    return page.rows


def _moved(movement: Movement) -> Answer:
    return Answer(201, MovementOut.model_validate(movement).model_dump_json())
