"""The routes of stock movements."""

from fastapi import APIRouter, Response

from inventory_api.access import CanReadStock, CanWriteStock
from inventory_api.items import service as items
from inventory_api.items.router import SkuInPath
from inventory_api.items.schemas import MovementNew, MovementOut
from inventory_api.movements import service
from service_kit.web.auth import GuardedRoute
from service_kit.web.dependencies import DatabaseDep
from service_kit.web.idempotency import Answer, Idempotent
from service_kit.web.openapi import documented
from service_kit.web.paging import PagingDep, Sort

router = APIRouter(prefix="/items/{sku}/movements", route_class=GuardedRoute, tags=["stock"])


@router.post(
    "",
    status_code=201,
    summary="Move stock",
    response_model=MovementOut,
    responses=documented(items.ItemNotFound, items.ItemUntracked, items.StockBelowReserved),
)
async def move_stock(
    sku: SkuInPath, new: MovementNew, who: CanWriteStock, idempotency: Idempotent
) -> Response:
    """Record that stock came in, went out or was counted, never below what is reserved.

    Requests waiting for the item get it at once, the oldest first.
    """
    return await idempotency.write(service.move_stock, _created_answer, sku, new, who)


@router.get(
    "",
    summary="Read an item's ledger",
    responses=documented(items.ItemNotFound),
)
async def list_movements(
    sku: SkuInPath, database: DatabaseDep, _: CanReadStock, paging: PagingDep, sort: Sort = "id"
) -> list[MovementOut]:
    """List every movement of the item, newest last; their sums are its levels."""
    after, ascending = paging.after(sort), sort == "id"
    page = await database.read(items.movements, sku, after, paging.limit, ascending=ascending)
    return paging.rows(page, sort)


def _created_answer(movement: MovementOut) -> Answer:
    return Answer(201, movement.model_dump_json())
