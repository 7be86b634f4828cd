"""Incoming stock goes to the request that has waited longest, in the same transaction."""

from sqlalchemy import Connection

from inventory_api.items import ledger
from inventory_api.items import service as items
from inventory_api.items import store as item_store
from inventory_api.items.ledger import StockChange
from inventory_api.items.schemas import MovementNew, MovementOut
from inventory_api.package_requests import allocation
from service_kit.web.auth import Principal


def move_stock(db: Connection, sku: str, new: MovementNew, who: Principal) -> MovementOut:
    """Change an item's stock, never below what is reserved, and allocate what has come.

    Raises ItemNotFound, ItemUntracked or StockBelowReserved.
    """
    item = items.get(db, sku)
    if not item.tracked:
        raise items.ItemUntracked("This item is not tracked: it has no stock to move.")
    locked = allocation.lock_with_backorders(db, {item.id})
    level = items.get(db, sku)
    if level.on_hand + new.quantity < level.reserved:
        raise items.StockBelowReserved(
            f"{level.on_hand} are on hand and {level.reserved} of them reserved; "
            f"at most {level.available} can be taken away.",
            on_hand=level.on_hand,
            reserved=level.reserved,
        )
    ledger.write(db, [StockChange(item.id, new.quantity, 0, new.reason)], who.name)
    written = item_store.newest_movement(db, item.id)
    if new.quantity > 0:
        allocation.allocate(db, {item.id}, locked, who.name)
    return written
