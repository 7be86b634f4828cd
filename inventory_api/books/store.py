"""The statements about the books; each compares in one statement, so that it sees one moment."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, and_, delete, func, insert, or_, select

from inventory_api.items.models import items, movements
from inventory_api.kits.models import kit_lines
from inventory_api.package_requests.models import package_requests, reservations
from service_kit.database.rows import find_all

# What a request needs follows from its kit; the reservations repeat it. A request that was
# cancelled after packing keeps its reservations until it is unpacked.
_PROMISED_TO = or_(
    package_requests.c.status.in_(("pending", "packed")), package_requests.c.to_unpack
)

_LEDGER = (
    select(
        movements.c.item_id,
        func.sum(movements.c.on_hand_delta).label("on_hand"),
        func.sum(movements.c.reserved_delta).label("reserved"),
    )
    .group_by(movements.c.item_id)
    .subquery()
)
_PROMISED = (
    select(kit_lines.c.item_id, func.sum(kit_lines.c.quantity).label("quantity"))
    .join(package_requests, package_requests.c.kit_id == kit_lines.c.kit_id)
    .where(_PROMISED_TO)
    .group_by(kit_lines.c.item_id)
    .subquery()
)
_RESERVED = (
    select(reservations.c.item_id, func.sum(reservations.c.quantity).label("quantity"))
    .group_by(reservations.c.item_id)
    .subquery()
)
# Only those that match a live request's kit exactly: a surplus elsewhere makes up for nothing.
_DUE = (
    select(reservations.c.item_id, func.sum(reservations.c.quantity).label("quantity"))
    .join(package_requests, package_requests.c.id == reservations.c.package_request_id)
    .join(
        kit_lines,
        and_(
            kit_lines.c.kit_id == package_requests.c.kit_id,
            kit_lines.c.item_id == reservations.c.item_id,
            kit_lines.c.quantity == reservations.c.quantity,
        ),
    )
    .where(_PROMISED_TO)
    .group_by(reservations.c.item_id)
    .subquery()
)


class Compared(NamedTuple):
    """What a tracked item's levels say, beside what they should say."""

    id: int
    sku: str
    on_hand: int
    reserved: int
    ledger_on_hand: int
    ledger_reserved: int
    reservations: int
    orphaned: int
    promised: int


_COMPARED = (
    select(
        items.c.id,
        items.c.sku,
        items.c.on_hand,
        items.c.reserved,
        func.coalesce(_LEDGER.c.on_hand, 0).label("ledger_on_hand"),
        func.coalesce(_LEDGER.c.reserved, 0).label("ledger_reserved"),
        func.coalesce(_DUE.c.quantity, 0).label("reservations"),
        (func.coalesce(_RESERVED.c.quantity, 0) - func.coalesce(_DUE.c.quantity, 0)).label(
            "orphaned"
        ),
        func.coalesce(_PROMISED.c.quantity, 0).label("promised"),
    )
    .outerjoin(_LEDGER, _LEDGER.c.item_id == items.c.id)
    .outerjoin(_RESERVED, _RESERVED.c.item_id == items.c.id)
    .outerjoin(_DUE, _DUE.c.item_id == items.c.id)
    .outerjoin(_PROMISED, _PROMISED.c.item_id == items.c.id)
    .where(items.c.tracked)
    .order_by(items.c.id)
)
_RESERVE_LIVE = insert(reservations).from_select(
    ["package_request_id", "item_id", "quantity"],
    select(package_requests.c.id, kit_lines.c.item_id, kit_lines.c.quantity)
    .join(kit_lines, kit_lines.c.kit_id == package_requests.c.kit_id)
    .join(items, items.c.id == kit_lines.c.item_id)
    .where(_PROMISED_TO, items.c.tracked),
)
_LOW = (
    select(items.c.sku)
    .where(and_(items.c.tracked, items.c.on_hand - items.c.reserved < items.c.reorder_level))
    .order_by(items.c.id)
)


def compare(db: Connection) -> Sequence[Compared]:
    """Compare each tracked item's levels with what they should be."""
    return find_all(Compared, db, _COMPARED)


def renew_reservations(db: Connection) -> None:
    """Rewrite all reservations from the live requests."""
    db.execute(delete(reservations))
    db.execute(_RESERVE_LIVE)


def low_stock(db: Connection) -> list[str]:
    return list(db.execute(_LOW).scalars())
