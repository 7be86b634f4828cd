"""Where packages go: kept fresh until they are packed."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, cast

from sqlalchemy import Connection

from inventory_api.items import store as items
from inventory_api.kits import store as kits
from inventory_api.package_requests import allocation, service, store
from inventory_api.package_requests.models import PackageRequest
from inventory_api.package_requests.schemas import AddressChange
from inventory_api.tables import audit
from service_kit.problems import Problem
from service_kit.process import clock
from service_kit.web.auth import Principal
from service_kit.web.postal import PostalAddressData


def change_all(
    db: Connection, changes: Sequence[AddressChange], who: Principal
) -> list[int | Problem]:
    """Give the requests of customers that are not packed yet their new address, in this order.

    Returns for each change how many requests got another address, or CustomerErased. A request
    keeps an address that is newer than the change. It costs a few statements, however many there
    are.
    """
    erased = store.erased_among(db, {change.customer_id for change in changes})
    before = _lock_not_packed(db, {change.customer_id for change in changes} - erased)
    rows = {row.id: row for row in before}
    ids_by_customer: dict[str, list[int]] = defaultdict(list)
    for row in before:
        ids_by_customer[row.customer_id].append(row.id)
    results: list[int | Problem] = []
    for change in changes:
        if change.customer_id in erased:
            results.append(service.customer_erased())
            continue
        found = [rows[row_id] for row_id in ids_by_customer[change.customer_id]]
        changed = [_changed(row, change) for row in found if _is_newer(change, row)]
        results.append(sum(row.version != rows[row.id].version for row in changed))
        rows |= {row.id: row for row in changed}
    store.set_ship_to(db, [rows[row.id] for row in before if rows[row.id] != row])
    readdressed = [row.request_id for row in before if rows[row.id].version != row.version]
    if who.role != "integration":  # which only passes on what the CRM's audit says
        audit.record(db, "package.readdressed", *readdressed, by=who)
    return results


def _lock_not_packed(db: Connection, customer_ids: Collection[str]) -> list[PackageRequest]:
    """Lock what is not packed for these customers, after its items, as everybody does."""
    seen = store.not_packed_of(db, customer_ids)
    kits_by_id = kits.by_id(db, {row.kit_id for row in seen if row.kit_id is not None})
    items.lock(db, allocation.tracked_items(kits_by_id))
    return store.lock_not_packed(db, [row.id for row in seen])


def _is_newer(change: AddressChange, row: PackageRequest) -> bool:
    return row.ship_to_as_of is None or change.as_of >= row.ship_to_as_of


def _changed(row: PackageRequest, change: AddressChange) -> PackageRequest:
    """Return the row with this address; with another version where that is another address."""
    ship_to: Any = change.ship_to and change.ship_to.model_dump()
    row = row._replace(ship_to_as_of=change.as_of)
    if ship_to == row.ship_to:
        return row
    return row._replace(
        ship_to=cast("PostalAddressData | None", ship_to),
        version=row.version + 1,
        updated_at=clock.now(),
    )
