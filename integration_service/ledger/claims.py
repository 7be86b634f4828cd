"""Which delivery is sent next, who is sending it, and what came of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT compiles for SQLite as well

from integration_service.ledger.lease import Lease, fence
from integration_service.ledger.models import attempt_counts, attempts, deliveries, poller
from integration_service.ledger.records import Settlement
from integration_service.ledger.store import UNFINISHED, DeliveryRow

_UNCLAIMED = or_(
    deliveries.c.claimed_epoch.is_(None), deliveries.c.claimed_epoch != bindparam("epoch")
)
_DUE = and_(UNFINISHED, deliveries.c.next_attempt_at <= bindparam("now"), _UNCLAIMED)
_FRESH = and_(_DUE, deliveries.c.attempt_count == 0)
_RETRY = and_(_DUE, deliveries.c.attempt_count > 0)
_FIRST_DUE = (
    select(deliveries.c.attempt_count)
    .where(_RETRY)
    .order_by(deliveries.c.next_attempt_at, deliveries.c.id)
    .limit(1)
)
_IS_SENDING = exists().where(poller.c.paused_at.is_(None))
_NEXT_DUE = select(func.min(deliveries.c.next_attempt_at)).where(
    UNFINISHED, _UNCLAIMED, _IS_SENDING
)
_PAUSED_AT = select(poller.c.paused_at)
_SETTLE = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("delivery_id"))
    .values(
        state=bindparam("to_state"),
        attempt_count=deliveries.c.attempt_count + 1,
        claimed_epoch=None,
        next_attempt_at=bindparam("due_at"),
        first_failed_at=bindparam("failing_since"),
        down_seconds_before=bindparam("down_before"),
        request_id=bindparam("made_id"),
        error_class=bindparam("class_of_error"),
        error=bindparam("text_of_error"),
        problem=bindparam("document"),
        updated_at=bindparam("at"),
        delivered_at=bindparam("done_at"),
    )
)
_COUNTED = insert(attempt_counts)
_COUNT = _COUNTED.on_conflict_do_update(
    index_elements=["outcome"],
    set_={"number": attempt_counts.c.number + _COUNTED.excluded.number},
)
_UNCLAIM = (
    update(deliveries)
    .where(deliveries.c.id.in_(bindparam("ids", expanding=True)))
    .values(claimed_epoch=None)
)
_RELEASE_HELD = (
    update(deliveries)
    .where(
        deliveries.c.state == "retrying",
        deliveries.c.next_attempt_at > bindparam("now"),
    )
    .values(next_attempt_at=bindparam("now"))
)


def next_due(db: Connection, lease: Lease) -> datetime | None:
    """Return when the next delivery that nobody is sending is due; it may be past.

    None while it is paused.
    """
    found: datetime | None = db.execute(_NEXT_DUE, {"epoch": lease.epoch}).scalar_one()
    return found


def claim_fresh(db: Connection, lease: Lease, now: datetime, limit: int) -> list[DeliveryRow]:
    """Take up to `limit` deliveries that were never tried."""
    return _claim(db, lease, now, select(deliveries.c.id).where(_FRESH), limit)


def claim_retries(db: Connection, lease: Lease, now: datetime, limit: int) -> list[DeliveryRow]:
    """Take some that failed before: fewer the more often they did.

    So whatever spoils a whole batch is soon alone in its own, and no longer holds up the others.
    """
    if not _may_send(db, lease):
        return []
    level = db.execute(_FIRST_DUE, {"epoch": lease.epoch, "now": now}).scalar_one_or_none()
    if level is None:
        return []
    alike = select(deliveries.c.id).where(_RETRY, deliveries.c.attempt_count == level)
    return _claim(db, lease, now, alike, max(1, limit >> (2 * level)))


def claim_probe(db: Connection, lease: Lease, now: datetime) -> list[DeliveryRow]:
    """Take one delivery to find out with whether a far side answers again.

    The least tried one, whenever it is due: a delivery that always fails must not stand for all.
    """
    if not _may_send(db, lease):
        return []
    chosen = (
        select(deliveries.c.id)
        .where(UNFINISHED, _UNCLAIMED)
        .order_by(deliveries.c.attempt_count, deliveries.c.next_attempt_at, deliveries.c.id)
        .limit(1)
    )
    return _mark(db, lease, chosen, {"epoch": lease.epoch})


def unclaim(db: Connection, lease: Lease, ids: Sequence[int]) -> None:
    """Give deliveries back as if they had not been tried."""
    fence(db, lease)
    db.execute(_UNCLAIM, {"ids": list(ids)})


def unclaim_all(db: Connection, lease: Lease) -> None:
    """Give back all that a poller has claimed; for one that is sending nothing."""
    fence(db, lease)
    mine = deliveries.c.claimed_epoch == lease.epoch
    db.execute(update(deliveries).where(UNFINISHED, mine).values(claimed_epoch=None))


def settle(db: Connection, lease: Lease, settlements: Sequence[Settlement]) -> None:
    """Write down what came of an attempt at each."""
    fence(db, lease)
    db.execute(_SETTLE, [one.outcome() for one in settlements])
    db.execute(insert(attempts), [one.attempt() for one in settlements])
    counts = Counter(one.class_of_error or "success" for one in settlements)
    db.execute(_COUNT, [{"outcome": name, "number": counts[name]} for name in sorted(counts)])


def release_held(db: Connection, lease: Lease, now: datetime) -> int:
    """Make due what waits for another try, now that the far side answers again."""
    fence(db, lease)
    return db.execute(_RELEASE_HELD, {"now": now}).rowcount


def _may_send(db: Connection, lease: Lease) -> bool:
    """Tell whether it is paused, after the row is locked that says so. Raises LeaseLost."""
    fence(db, lease)
    return db.execute(_PAUSED_AT).scalar_one() is None


def _claim(db: Connection, lease: Lease, now: datetime, due: Any, limit: int) -> list[DeliveryRow]:
    if not _may_send(db, lease):
        return []
    chosen = due.order_by(deliveries.c.next_attempt_at, deliveries.c.id).limit(limit)
    return _mark(db, lease, chosen, {"epoch": lease.epoch, "now": now})


def _mark(
    db: Connection, lease: Lease, chosen: Any, values: Mapping[str, Any]
) -> list[DeliveryRow]:
    statement = (
        update(deliveries)
        .where(deliveries.c.id.in_(chosen))
        .values(claimed_epoch=lease.epoch)
        .returning(deliveries)
    )
    return sorted(db.execute(statement, values).all(), key=lambda row: row.id)
