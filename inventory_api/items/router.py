"""The items' routes."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from inventory_api.access import CanReadStock, CanWriteStock
from inventory_api.items import service, store
from inventory_api.items.models import Item
from inventory_api.items.schemas import ItemChange, ItemNew, ItemOut
from service_kit.web.auth import GuardedRoute
from service_kit.web.dependencies import DatabaseDep
from service_kit.web.etags import (
    NOT_MODIFIED,
    IfMatch,
    IfNoneMatch,
    PreconditionFailed,
    etag,
    set_etag,
    unless_known,
)
from service_kit.web.fields import Line
from service_kit.web.idempotency import Answer, Idempotent
from service_kit.web.openapi import ETAG, LOCATION, answering, documented
from service_kit.web.paging import PagingDep

router = APIRouter(prefix="/items", route_class=GuardedRoute, tags=["stock"])

SkuInPath = Annotated[
    Line, Path(max_length=64, description="The item's SKU.", examples=["MUG-BLUE"])
]


@router.post(
    "",
    status_code=201,
    summary="Add an item",
    response_model=ItemOut,
    responses=documented(service.SkuTaken) | answering(201, LOCATION, ETAG),
)
async def add_item(new: ItemNew, who: CanWriteStock, idempotency: Idempotent) -> Response:
    """Add an item. How many of it there are is its first movement."""
    return await idempotency.write(service.add, _created_answer, new, who)


@router.get("", summary="List items", response_model=list[ItemOut])
async def list_items(
    database: DatabaseDep,
    _: CanReadStock,
    paging: PagingDep,
    below_reorder_level: Annotated[
        bool, Query(description="Only tracked items of which too few are available.")
    ] = False,
) -> list[Item]:
    """List items, newest last."""
    page = await database.read(
        store.page,
        below_reorder_level=below_reorder_level,
        after=paging.after(),
        limit=paging.limit,
    )
    return paging.rows(page)


@router.get(
    "/{sku}",
    summary="Look up an item",
    response_model=ItemOut,
    responses=documented(service.ItemNotFound) | NOT_MODIFIED,
)
async def get_item(
    sku: SkuInPath,
    database: DatabaseDep,
    _: CanReadStock,
    known_versions: IfNoneMatch,
    response: Response,
) -> Item | Response:
    """Look up one item and its levels."""
    item = await database.read(service.get, sku)
    return unless_known(known_versions, response, item.version, item)


@router.patch(
    "/{sku}",
    summary="Change an item",
    response_model=ItemOut,
    responses=documented(service.ItemNotFound, PreconditionFailed) | answering(200, ETAG),
)
async def change_item(
    sku: SkuInPath,
    change: ItemChange,
    database: DatabaseDep,
    who: CanWriteStock,
    versions: IfMatch,
    response: Response,
) -> Item:
    """Change its name or reorder level; its stock changes by movements alone."""
    item = await database.write(service.change, sku, change, versions, who)
    set_etag(response, item.version)
    return item


def _created_answer(item: Item) -> Answer:
    body = ItemOut.model_validate(item).model_dump_json()
    return Answer(201, body, {"Location": f"/items/{item.sku}", "ETag": etag(item.version)})
