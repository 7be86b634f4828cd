"""Reserving stock for package requests: all that one needs or nothing, the oldest first.

Every transaction that touches levels locks the items it needs first, in the order of their ids, and
package requests after them. So no two can deadlock.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from inventory_api.items import ledger
from inventory_api.items import store as items
from inventory_api.items.ledger import StockChange
from inventory_api.kits import store as kits
from inventory_api.kits.store import Kit
from inventory_api.package_requests import store
from inventory_api.package_requests.models import PackageRequest, Reservation
from service_kit.database import RunAgain

AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Waiting:
    """A package request that wants what its kit holds."""

    id: int
    request_id: str
    kit: Kit


def reserve(db: Connection, waiting: Sequence[Waiting], actor: str) -> set[int]:
    """Reserve stock for new requests, in their order. Returns the ids of those that got theirs.

    It costs a few statements, however many requests there are.
    """
    item_ids = _items_of(waiting)
    levels = items.lock(db, item_ids) if item_ids else {}
    available = {item_id: level.available for item_id, level in levels.items()}
    return _promise(db, waiting, available, actor)


def lock_with_backorders(db: Connection, item_ids: Collection[int]) -> set[int]:
    """Lock these items, and all that requests waiting for one of them want besides.

    Returns the ids of all items that are locked.
    """
    to_lock = set(item_ids)
    waiting_kits = kits.by_id(db, store.kits_of_backorders(db, item_ids)) if item_ids else {}
    for kit in waiting_kits.values():
        to_lock.update(line.item_id for line in kit.lines if line.tracked)
    items.lock(db, to_lock)
    return to_lock


def allocate(
    db: Connection, item_ids: Collection[int], locked: Collection[int], actor: str
) -> None:
    """Reserve what has become available of these items for the requests that wait for it.

    Raises RunAgain where one of them wants an item that this transaction has not locked, since it
    began to wait after the locking.
    """
    available = {row.id: row.available for row in items.lock(db, locked).values()}
    after = 0
    while item_ids and any(available[item_id] > 0 for item_id in item_ids):
        rows = store.backorders(db, item_ids, after, AT_ONCE)
        with_kit = [(row, row.kit_id) for row in rows if row.kit_id is not None]
        kits_by_id = kits.by_id(db, {kit_id for _, kit_id in with_kit})
        waiting = [Waiting(row.id, row.request_id, kits_by_id[kit_id]) for row, kit_id in with_kit]
        if not _items_of(waiting) <= set(locked):
            raise RunAgain
        served = _promise(db, waiting, available, actor)
        store.set_status(db, served, "pending")
        if len(rows) < AT_ONCE:
            return
        after = rows[-1].id


def cancel(db: Connection, rows: Sequence[PackageRequest], actor: str) -> None:
    """Cancel requests that are not shipped, and release what was reserved for them.

    What is packed is in a box and not on the shelf: it stays reserved until it is unpacked. The
    items and the requests must be locked by this transaction.
    """
    release(db, [row for row in rows if row.status != "packed"], "cancelled", actor)
    store.cancel(db, [row.id for row in rows])


def release(db: Connection, rows: Sequence[PackageRequest], reason: str, actor: str) -> None:
    """Release what is reserved for these requests; the goods stay."""
    moved = [
        StockChange(one.item_id, 0, -one.quantity, reason, request_id)
        for request_id, one in _take(db, rows)
    ]
    ledger.write(db, moved, actor)


def hand_out(db: Connection, rows: Sequence[PackageRequest], actor: str) -> None:
    """Ship the goods that were reserved: the only way in which packages lower on_hand."""
    moved = [
        StockChange(one.item_id, -one.quantity, -one.quantity, "shipped", request_id)
        for request_id, one in _take(db, rows)
    ]
    ledger.write(db, moved, actor)


def take_back(
    db: Connection, rows: Sequence[PackageRequest], kits_by_id: Mapping[int, Kit], actor: str
) -> None:
    """Put what was shipped back on the shelf."""
    moved = [
        StockChange(line.item_id, line.quantity, 0, "returned", row.request_id)
        for row in rows
        if row.kit_id is not None
        for line in tracked_lines(kits_by_id[row.kit_id])
    ]
    ledger.write(db, moved, actor)


def _take(db: Connection, rows: Sequence[PackageRequest]) -> list[tuple[str, Reservation]]:
    """Delete what is reserved for these requests. Returns it, each with the request's id."""
    request_ids = {row.id: row.request_id for row in rows}
    held = store.take_reservations(db, request_ids) if request_ids else []
    return [(request_ids[one.package_request_id], one) for one in held]


def tracked_lines(kit: Kit) -> Iterator[kits.Line]:
    return (line for line in kit.lines if line.tracked)


def tracked_items(kits_by_id: Mapping[int, Kit]) -> set[int]:
    """Find the items of these kits of which there is not always enough."""
    return {line.item_id for kit in kits_by_id.values() for line in tracked_lines(kit)}


def _promise(
    db: Connection, waiting: Sequence[Waiting], available: dict[int, int], actor: str
) -> set[int]:
    """Go through the requests in order; reserve for each all that it needs, or nothing."""
    served, moved, reserved = set(), [], []
    for one in waiting:
        lines = list(tracked_lines(one.kit))
        if any(available[line.item_id] < line.quantity for line in lines):
            continue
        served.add(one.id)
        for line in lines:
            available[line.item_id] -= line.quantity
            promised = {"item_id": line.item_id, "quantity": line.quantity}
            reserved.append({"package_request_id": one.id, **promised})
            moved.append(StockChange(line.item_id, 0, line.quantity, "reserved", one.request_id))
    store.add_reservations(db, reserved)
    ledger.write(db, moved, actor)
    return served


def _items_of(waiting: Sequence[Waiting]) -> set[int]:
    return {line.item_id for one in waiting for line in tracked_lines(one.kit)}
