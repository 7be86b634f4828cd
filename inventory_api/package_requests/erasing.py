"""Erased customers: nothing more is sent to them, and who they were is forgotten."""

from collections.abc import Collection

from sqlalchemy import Connection

from inventory_api.kits import store as kits
from inventory_api.package_requests import allocation, store
from inventory_api.package_requests.models import PackageRequest
from inventory_api.package_requests.schemas import Erased
from inventory_api.tables import audit
from service_kit.web.auth import Principal


def preview(db: Connection, customer_ids: Collection[str]) -> Erased:
    """Find what an erasure of these customers would change."""
    return _to_change(db, customer_ids, dry_run=True)[0]


def erase(db: Connection, customer_ids: Collection[str], who: Principal) -> Erased:
    """Remember that these customers were erased, cancel what is not shipped, forget who they were.

    What was reserved for them goes to the requests that wait for it. What is packed stays reserved
    until it is unpacked.
    """
    store.close_to_new(db)
    erased, rows = _to_change(db, customer_ids, dry_run=False)
    kits_by_id = kits.by_id(db, {row.kit_id for row in rows if row.kit_id is not None})
    concerned = allocation.tracked_items(kits_by_id)
    locked = allocation.lock_with_backorders(db, concerned)
    allocation.cancel(db, store.lock_live(db, [row.id for row in rows]), who.name)
    store.erase(db, customer_ids)
    allocation.allocate(db, concerned, locked, who.name)
    audit.record(db, "customer.erased", *erased.customer_ids, by=who)
    return erased


def _to_change(
    db: Connection, customer_ids: Collection[str], *, dry_run: bool
) -> tuple[Erased, Collection[PackageRequest]]:
    rows = store.to_erase(db, customer_ids)
    settled = store.erased_among(db, customer_ids) - {row.customer_id for row in rows}
    news = [one for one in dict.fromkeys(customer_ids) if one not in settled]
    return Erased(dry_run=dry_run, erased=len(rows), customer_ids=news), rows
