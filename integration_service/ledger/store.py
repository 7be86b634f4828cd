"""The ledger's statements. Each one that writes names its poller's lease first."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT compiles for SQLite as well

from integration_service.ledger import erasures
from integration_service.ledger.lease import Lease, LeaseLost, fence
from integration_service.ledger.models import attempts, deliveries, poller
from integration_service.ledger.records import Arrival, Settlement
from service_kit.database.types import AnyRow, UtcDateTime

DeliveryRow = AnyRow

_UNFINISHED = deliveries.c.state.in_(("pending", "retrying"))
_UNCLAIMED = or_(
    deliveries.c.claimed_epoch.is_(None), deliveries.c.claimed_epoch != bindparam("epoch")
)
_DUE = and_(_UNFINISHED, deliveries.c.next_attempt_at <= bindparam("now"), _UNCLAIMED)
_FRESH = and_(_DUE, deliveries.c.attempt_count == 0)
_RETRY = and_(_DUE, deliveries.c.attempt_count > 0)

_FEED = select(poller)
_OWED = select(deliveries.c.customer_uid).where(
    deliveries.c.customer_uid.in_(bindparam("uids", expanding=True))
)
_OWE = insert(deliveries).on_conflict_do_nothing(index_elements=["customer_uid"])
_BEGIN = (
    update(poller)
    .where(poller.c.start_from.is_(None))
    .values(
        start_from=bindparam("begin_from"),
        cursor=bindparam("begin_at"),
        position=bindparam("begin_position"),
    )
)
_MOVE = (
    update(poller)
    .where(
        poller.c.cursor.is_not_distinct_from(bindparam("old")),
        poller.c.lease_epoch == bindparam("epoch"),
    )
    .values(
        cursor=bindparam("new"),
        position=bindparam("through"),
        head_position=bindparam("head"),
        feed_state="running",
        last_poll_at=bindparam("now"),
        caught_up_at=func.coalesce(
            bindparam("caught_up", type_=UtcDateTime), poller.c.caught_up_at
        ),
    )
)
_FIRST_DUE = (
    select(deliveries.c.attempt_count)
    .where(_RETRY)
    .order_by(deliveries.c.next_attempt_at, deliveries.c.id)
    .limit(1)
)
_NEXT_DUE = select(func.min(deliveries.c.next_attempt_at)).where(_UNFINISHED, _UNCLAIMED)
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


def feed(db: Connection) -> AnyRow:
    return db.execute(_FEED).one()


def begin(
    db: Connection, lease: Lease, start_from: str, cursor: str | None, position: int | None
) -> None:
    """Write down where to start; only the very first time it has an effect."""
    fence(db, lease)
    db.execute(_BEGIN, {"begin_from": start_from, "begin_at": cursor, "begin_position": position})


def note_page(
    db: Connection,
    lease: Lease,
    arrivals: Sequence[Arrival],
    move: Mapping[str, Any],
    now: datetime,
    erased: Sequence[str] = (),
) -> list[Arrival]:
    """Owe a package to each customer who is new, and move past the page; both or neither.

    Those who were erased are noted as such, in the same transaction.

    Returns whom it is owed to from now on. Raises LeaseLost when the cursor is not where this page
    was read from, or the lease is another's.
    """
    known = set(db.execute(_OWED, {"uids": [a.customer_uid for a in arrivals]}).scalars())
    new = list({a.customer_uid: a for a in arrivals if a.customer_uid not in known}.values())
    if new:
        db.execute(_OWE, [_row(arrival, now) for arrival in new])
    erasures.note(db, erased, now)
    if db.execute(_MOVE, {**move, "epoch": lease.epoch, "now": now}).rowcount != 1:
        raise LeaseLost
    return new


def mark_feed(db: Connection, lease: Lease, state: str, error: str, now: datetime) -> None:
    """Say why the feed is not read on."""
    fence(db, lease)
    db.execute(
        update(poller).values(
            feed_state=state, last_poll_at=now, last_error=error, last_error_at=now
        )
    )


def note_error(db: Connection, lease: Lease, error: str, now: datetime) -> None:
    fence(db, lease)
    db.execute(update(poller).values(last_poll_at=now, last_error=error, last_error_at=now))


def unfinished(db: Connection, most: int) -> int:
    """Count what is not finished, up to `most`."""
    some = select(deliveries.c.id).where(_UNFINISHED).limit(most).subquery()
    count: int = db.execute(select(func.count()).select_from(some)).scalar_one()
    return count


def next_due(db: Connection, lease: Lease) -> datetime | None:
    """Return when the next delivery that nobody is sending is due; it may be past."""
    found: datetime | None = db.execute(_NEXT_DUE, {"epoch": lease.epoch}).scalar_one()
    return found


def claim_fresh(db: Connection, lease: Lease, now: datetime, limit: int) -> list[DeliveryRow]:
    """Take up to `limit` deliveries that were never tried."""
    return _claim(db, lease, now, select(deliveries.c.id).where(_FRESH), limit)


def claim_retries(db: Connection, lease: Lease, now: datetime, limit: int) -> list[DeliveryRow]:
    """Take some that failed before: fewer the more often they did.

    So whatever spoils a whole batch is soon alone in its own, and no longer holds up the others.
    """
    level = db.execute(_FIRST_DUE, {"epoch": lease.epoch, "now": now}).scalar_one_or_none()
    if level is None:
        return []
    alike = select(deliveries.c.id).where(_RETRY, deliveries.c.attempt_count == level)
    return _claim(db, lease, now, alike, max(1, limit >> (2 * level)))


def claim_probe(db: Connection, lease: Lease, now: datetime) -> list[DeliveryRow]:
    """Take one delivery to find out with whether a far side answers again.

    The least tried one, whenever it is due: a delivery that always fails must not stand for all.
    """
    fence(db, lease)
    chosen = (
        select(deliveries.c.id)
        .where(_UNFINISHED, _UNCLAIMED)
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
    db.execute(update(deliveries).where(_UNFINISHED, mine).values(claimed_epoch=None))


def settle(db: Connection, lease: Lease, settlements: Sequence[Settlement]) -> None:
    """Write down what came of an attempt at each."""
    fence(db, lease)
    db.execute(_SETTLE, [one.outcome() for one in settlements])
    db.execute(insert(attempts), [one.attempt() for one in settlements])


def release_held(db: Connection, lease: Lease, now: datetime) -> int:
    """Make due what waits for another try, now that the far side answers again."""
    fence(db, lease)
    return db.execute(_RELEASE_HELD, {"now": now}).rowcount


def _row(arrival: Arrival, now: datetime) -> dict[str, Any]:
    return {
        **asdict(arrival),
        "state": "dead" if arrival.error else "pending",
        "error_class": "unreadable" if arrival.error else None,
        "attempt_count": 0,
        "next_attempt_at": None if arrival.error else now,
        "down_seconds_before": 0.0,
        "created_at": now,
        "updated_at": now,
    }


def _claim(db: Connection, lease: Lease, now: datetime, due: Any, limit: int) -> list[DeliveryRow]:
    fence(db, lease)
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
