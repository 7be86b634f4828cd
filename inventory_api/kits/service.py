"""The rules about kits."""

from http import HTTPStatus

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from inventory_api.items import store as items
from inventory_api.kits import store
from inventory_api.kits.schemas import KitNew
from inventory_api.kits.store import Kit
from inventory_api.tables import audit
from service_kit.problems import InvalidRequest, Problem
from service_kit.process import clock
from service_kit.web.auth import Principal
from service_kit.web.paging import Page


class KitChanged(Problem):
    """Someone else has changed this kit just now."""

    status = HTTPStatus.CONFLICT
    slug = "kit-changed"


def page(db: Connection, after: int | None, limit: int) -> Page[Kit]:
    """List the newest version of each kit, in the order in which the kits were first made."""
    first = store.first_versions(db, after, limit)
    kits_by_type = store.newest(db, [row.package_type for row in first.rows])
    rows = [kits_by_type[row.package_type] for row in first.rows]
    return Page(rows=rows, next_key=first.next_key)


def put(db: Connection, package_type: str, new: KitNew, who: Principal) -> tuple[Kit, bool]:
    """Set what goes into packages of a type from now on. Returns the kit and whether it is new.

    Repeating the same contents makes no new version. Existing requests keep theirs. Raises
    InvalidRequest for an item that does not exist.
    """
    there = store.newest(db, [package_type]).get(package_type)
    quantities = {line.sku: line.quantity for line in new.lines}
    if there is not None and {line.sku: line.quantity for line in there.lines} == quantities:
        return there, False
    items_by_sku = items.by_sku(db, quantities)
    if missing := [sku for sku in quantities if sku not in items_by_sku]:
        raise InvalidRequest(
            "A kit holds items that exist.",
            errors=[
                {
                    "loc": ["body", "lines", list(quantities).index(sku), "sku"],
                    "msg": "No such item",
                }
                for sku in missing
            ],
        )
    kit = {
        "package_type": package_type,
        "version": 1 if there is None else there.version + 1,
        "actor": who.name,
        "created_at": clock.now(),
    }
    by_item_id = {items_by_sku[sku].id: quantity for sku, quantity in quantities.items()}
    try:
        with db.begin_nested():
            store.add(db, kit, by_item_id)
    except IntegrityError:
        raise KitChanged("Someone else has changed this kit just now. Try again.") from None
    audit.record(db, "kit.changed", package_type, by=who)
    return store.newest(db, [package_type])[package_type], there is None
