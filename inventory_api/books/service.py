"""Checking the books, and repairing them."""

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from inventory_api.books import store
from inventory_api.books.schemas import Difference, Repair, Stats, Verification
from inventory_api.items import store as items
from inventory_api.package_requests import allocation
from inventory_api.package_requests import store as package_requests
from inventory_api.tables import audit
from service_kit.process import clock
from service_kit.web.auth import Principal


def verify(db: Connection) -> Verification:
    """Compare each item's levels with its ledger, and reservations with live requests."""
    rows = store.compare(db)
    differences = [difference for row in rows for difference in _differences(row)]
    return Verification(balanced=not differences, items_checked=len(rows), differences=differences)


def repair(db: Connection, who: Principal) -> Repair:
    """Repair what does not balance.

    What is on hand follows the ledger, what is reserved follows the live requests; where the ledger
    said otherwise a correcting row is appended to it. Stock that this frees is allocated.
    """
    items.lock(db, [row.id for row in store.compare(db)])
    wrong = [row for row in store.compare(db) if any(_differences(row))]
    repaired = [difference for row in wrong for difference in _differences(row)]
    if wrong:
        store.renew_reservations(db)
        for row in wrong:
            _repair(db, row, who.name)
        ids = {row.id for row in wrong}
        allocation.allocate(db, ids, allocation.lock_with_backorders(db, ids), who.name)
    audit.record(db, "books.repaired", f"{len(wrong)} items", by=who)
    return Repair(repaired=repaired, verification=verify(db))


def stats(db: Connection) -> Stats:
    """Count for a dashboard."""
    return Stats(package_requests=package_requests.counts(db), low_stock=store.low_stock(db))


def _differences(row: store.Compared) -> Iterator[Difference]:
    compared: Sequence[tuple[str, int, int]] = (
        ("on_hand", row.on_hand, row.ledger_on_hand),
        ("reserved", row.reserved, row.ledger_reserved),
        ("promised", row.reserved, row.promised),
        ("reservations", row.reservations, row.promised),
        ("orphaned", row.orphaned, 0),
    )
    for kind, level, should_be in compared:
        if level != should_be:
            yield Difference.model_validate(
                {"kind": kind, "sku": row.sku, "level": level, "should_be": should_be}
            )


def _repair(db: Connection, row: store.Compared, actor: str) -> None:
    # No more can be reserved than there is, so what live requests have reserved is here.
    on_hand = max(row.ledger_on_hand, row.promised)
    now = clock.now()
    correction = {
        "item_id": row.id,
        "on_hand_delta": on_hand - row.ledger_on_hand,
        "reserved_delta": row.promised - row.ledger_reserved,
        "reason": "repair",
        "reference": None,
        "actor": actor,
        "at": now,
    }
    if correction["on_hand_delta"] or correction["reserved_delta"]:
        items.move(db, [correction], [])
    items.change(db, row.id, {"on_hand": on_hand, "reserved": row.promised, "updated_at": now})
