"""New addresses of customers: a row waits here until Inventory has been told of it, no longer."""

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, bindparam, delete, exists, or_, select

from integration_service.deliveries import erasures
from integration_service.deliveries.models import deliveries, destinations
from integration_service.ledger.control import IS_SENDING
from integration_service.ledger.lease import Lease, fence
from integration_service.routes.definitions import WELCOME
from integration_service.targets.target import Destination
from service_kit.database.listed import is_listed
from service_kit.database.on_conflict import insert_or_update
from service_kit.database.prepared import Prepared, PreparedChange
from service_kit.database.rows import find_all

_SHOWN = select(*(destinations.c[name] for name in Destination._fields))
_OF = Prepared(Destination, _SHOWN.where(is_listed(destinations.c.customer_uid, "uids")))
# Feeds may be read again, so an older address may come later.
_NOTE = PreparedChange(
    insert_or_update(
        destinations,
        "customer_uid",
        "ship_to = excluded.ship_to, as_of = excluded.as_of "
        "WHERE excluded.as_of >= destinations.as_of",
    ).inline(),
    columns=Destination._fields,
)
# Before its package is there, Inventory has nothing to give an address to.
_HAS_NO_PACKAGE_YET = exists().where(
    deliveries.c.subject == destinations.c.customer_uid,
    deliveries.c.route == WELCOME.name,
    or_(
        deliveries.c.state.in_(("pending", "retrying", "dead")),
        deliveries.c.claimed_epoch == bindparam("epoch"),
    ),
)
_DUE = (
    _SHOWN.where(IS_SENDING, ~_HAS_NO_PACKAGE_YET)
    .order_by(destinations.c.id)
    .limit(bindparam("limit"))
)
# One that became newer meanwhile stays.
_DONE = delete(destinations).where(
    destinations.c.customer_uid == bindparam("uid"), destinations.c.as_of == bindparam("told_as_of")
)


def note(db: Connection, found: Sequence[Destination]) -> None:
    """Write down where packages go, but for customers who were erased. The caller fences it."""
    if not found:
        return
    erased = erasures.among(db, {one.customer_uid for one in found})
    kept = [one._asdict() for one in found if one.customer_uid not in erased]
    # In one order, for two that write the same rows.
    _NOTE.each(db, sorted(kept, key=lambda one: str(one["customer_uid"])))


def of(db: Connection, uids: Collection[str]) -> dict[str, Destination]:
    """Find where the packages of these customers go, as far as that is still to be told."""
    return {one.customer_uid: one for one in _OF.all(db, uids=list(uids))}


def due(db: Connection, lease: Lease, limit: int) -> list[Destination]:
    """List the addresses that Inventory can be told of; none while it is paused."""
    values = {"epoch": lease.epoch, "route": WELCOME.name, "limit": limit}
    return find_all(Destination, db, _DUE, values)


def done(db: Connection, lease: Lease, told: Sequence[Destination]) -> None:
    """Forget the addresses that Inventory has been told of."""
    fence(db, lease)
    db.execute(_DONE, [{"uid": one.customer_uid, "told_as_of": one.as_of} for one in told])
