"""The rules about items."""

from http import HTTPStatus

from sqlalchemy import Connection

from inventory_api.items import ledger, store
from inventory_api.items.ledger import StockChange
from inventory_api.items.models import Item
from inventory_api.items.schemas import ItemChange, ItemNew, MovementOut
from inventory_api.tables import audit
from service_kit.problems import Problem
from service_kit.process import clock
from service_kit.web.auth import Principal
from service_kit.web.etags import check_version
from service_kit.web.paging import Page


class ItemNotFound(Problem):
    """There is no item with this SKU."""

    status = HTTPStatus.NOT_FOUND
    slug = "item-not-found"


class SkuTaken(Problem):
    """An item with this SKU exists."""

    status = HTTPStatus.CONFLICT
    slug = "sku-taken"


class ItemUntracked(Problem):
    """The stock of this item is not counted."""

    status = HTTPStatus.CONFLICT
    slug = "item-untracked"


class StockBelowReserved(Problem):
    """There would be less in stock than is reserved."""

    status = HTTPStatus.CONFLICT
    slug = "stock-below-reserved"


def get(db: Connection, sku: str, *, lock: bool = False) -> Item:
    """Look up one item. Raises ItemNotFound."""
    found = store.find(db, sku, lock=lock)
    if found is None:
        raise ItemNotFound("There is no item with this SKU.")
    return found


def add(db: Connection, new: ItemNew, who: Principal) -> Item:
    """Add an item; what there is of it is its first movement. Raises SkuTaken."""
    now = clock.now()
    values = {**new.model_dump(), "on_hand": 0, "reserved": 0, "version": 1}
    if not store.add(db, {**values, "created_at": now, "updated_at": now}):
        raise SkuTaken("An item with this SKU exists already.")
    if new.on_hand:
        added = get(db, new.sku, lock=True)
        ledger.write(db, [StockChange(added.id, new.on_hand, 0, "initial stock")], who.name)
    audit.record(db, "item.created", new.sku, by=who)
    return get(db, new.sku)


def change(
    db: Connection, sku: str, change: ItemChange, versions: frozenset[int] | None, who: Principal
) -> Item:
    """Change the fields that were sent. Raises ItemNotFound or PreconditionFailed."""
    before = get(db, sku, lock=True)
    check_version(versions, before.version)
    values = {
        name: value for name, value in change.changes().items() if getattr(before, name) != value
    }
    if values:
        store.change(db, before.id, {**values, "updated_at": clock.now()})
        audit.record(db, "item.updated", sku, by=who)
    return get(db, sku)


def movements(
    db: Connection, sku: str, after: int | None, limit: int, *, ascending: bool = True
) -> Page[MovementOut]:
    return store.movements_page(db, get(db, sku).id, after, limit, ascending=ascending)
