"""The statements about items and their movements."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from inventory_api.items.models import Item, items, movements
from inventory_api.items.schemas import MovementOut
from service_kit.database.on_conflict import insert_missing
from service_kit.database.prepared import PreparedChange
from service_kit.database.rows import find_all, find_one, page_after
from service_kit.web.paging import Page, page_of

_ITEMS = select(items)
_BY_SKU = _ITEMS.where(items.c.sku == bindparam("sku"))
_BY_SKUS = _ITEMS.where(items.c.sku.in_(bindparam("skus", expanding=True)))
# In the order of their ids, for every caller: whoever locks several items does so in one order,
# so that no two deadlock.
_LOCK = _ITEMS.where(items.c.id.in_(bindparam("ids", expanding=True))).order_by(items.c.id)
_APPEND = PreparedChange(
    insert(movements).inline(), columns=[one.key for one in movements.c if one.key != "id"]
)
_MOVE = (
    update(items)
    .where(items.c.id == bindparam("item_id"))
    .values(
        on_hand=items.c.on_hand + bindparam("on_hand_delta"),
        reserved=items.c.reserved + bindparam("reserved_delta"),
        version=items.c.version + 1,
        updated_at=bindparam("at"),
    )
)


def find(db: Connection, sku: str, *, lock: bool = False) -> Item | None:
    statement = _BY_SKU.with_for_update() if lock else _BY_SKU
    return find_one(Item, db, statement, {"sku": sku})


def by_sku(db: Connection, skus: Collection[str]) -> dict[str, Item]:
    return {item.sku: item for item in find_all(Item, db, _BY_SKUS, {"skus": list(skus)})}


def lock(db: Connection, ids: Collection[int]) -> dict[int, Item]:
    """Lock these items until this transaction ends."""
    found = find_all(Item, db, _LOCK.with_for_update(), {"ids": sorted(ids)})
    return {item.id: item for item in found}


def add(db: Connection, values: Mapping[str, Any]) -> bool:
    """Insert an item; False where its SKU is taken."""
    return bool(db.execute(insert_missing(items), dict(values)).rowcount)


def change(db: Connection, item_id: int, values: Mapping[str, Any]) -> None:
    db.execute(
        update(items).where(items.c.id == item_id).values(**values, version=items.c.version + 1)
    )


def page(db: Connection, *, below_reorder_level: bool, after: int | None, limit: int) -> Page[Item]:
    """List items in the order in which they were added."""
    statement = page_after(_ITEMS, items.c.id, after, limit + 1)
    if below_reorder_level:
        available = items.c.on_hand - items.c.reserved
        statement = statement.where(items.c.tracked, available < items.c.reorder_level)
    return page_of(find_all(Item, db, statement), limit, key="id")


def move(
    db: Connection, rows: Sequence[Mapping[str, Any]], totals: Sequence[Mapping[str, Any]]
) -> None:
    """Append ledger rows, and change the levels by their totals, one row an item."""
    _APPEND.each(db, rows)
    for total in sorted(totals, key=lambda one: one["item_id"]):
        db.execute(_MOVE, dict(total))


def movements_page(
    db: Connection, item_id: int, after: int | None, limit: int, *, ascending: bool
) -> Page[MovementOut]:
    statement = select(movements).where(movements.c.item_id == item_id)
    statement = page_after(statement, movements.c.id, after, limit + 1, ascending=ascending)
    found = db.execute(statement).mappings()
    return page_of([MovementOut.model_validate(row) for row in found], limit, key="id")


def newest_movement(db: Connection, item_id: int) -> MovementOut:
    """Return the last ledger row of an item that is locked and has one."""
    statement = select(movements).where(movements.c.item_id == item_id)
    found = db.execute(statement.order_by(movements.c.id.desc()).limit(1))
    return MovementOut.model_validate(found.mappings().one())
