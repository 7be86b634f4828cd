"""The inbox and the place in the feed. Each write names its poller's lease first."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from integration_service.ledger import erasures
from integration_service.ledger.lease import Lease, LeaseLost, fence
from integration_service.ledger.models import deliveries, poller
from integration_service.ledger.records import Arrival, ErasedCustomer
from integration_service.links.lists import Newest
from service_kit.database.listed import is_listed
from service_kit.database.on_conflict import insert_missing
from service_kit.database.prepared import PreparedChange, PreparedValues
from service_kit.database.types import AnyRow, UtcDateTime

DeliveryRow = AnyRow


# And not by their states: then SQLite would take the index of these, and sort all that it finds.
UNFINISHED = deliveries.c.next_attempt_at.is_not(None)

_FEED = select(poller)
_BEYOND = PreparedValues[int](
    select(deliveries.c.id).where(UNFINISHED).limit(1).offset(bindparam("mark"))
)
_OWED = PreparedValues[str](
    select(deliveries.c.customer_uid).where(is_listed(deliveries.c.customer_uid, "uids"))
)
_ARRIVAL = (
    "customer_uid",
    "customer_name",
    "sequence",
    "raw",
    "error",
    "traceparent",
    "skip_reason",
)
_OWED_ALIKE = (
    "state",
    "error_class",
    "attempt_count",
    "next_attempt_at",
    "never_claimed",
    "tried_seconds_before",
    "created_at",
    "updated_at",
)
_OWE = PreparedChange(
    insert_missing(deliveries).inline(),
    columns=(*_ARRIVAL, *_OWED_ALIKE),
)
_BEGIN = (
    update(poller)
    .where(poller.c.start_from.is_(None))
    .values(
        start_from=bindparam("begin_from"),
        started_at=bindparam("begun_at"),
        cursor=bindparam("begin_at"),
        position=bindparam("begin_position"),
        start_cursor=bindparam("begin_at"),
        newest_at_start=bindparam("newest_at"),
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


def feed(db: Connection) -> AnyRow:
    return db.execute(_FEED).one()


def begin(
    db: Connection,
    lease: Lease,
    now: datetime,
    at: Newest | None,
) -> None:
    """Write down where to start: at a place in the feed, or at its beginning.

    Only the very first time it has an effect.
    """
    fence(db, lease)
    db.execute(
        _BEGIN,
        {
            "begin_from": "now" if at else "beginning",
            "begin_at": at.feed_cursor if at else None,
            "begin_position": None if at else 0,
            "newest_at": at.created_at if at else None,
            "begun_at": now,
        },
    )


def is_from_before(feed: AnyRow, created_at: datetime) -> bool:
    """Tell by its date a customer who is owed nothing, being older than a first start with `now`.

    Only where there is no `start_cursor`, which tells it better.
    """
    return (
        feed.start_cursor is None
        and feed.newest_at_start is not None
        and created_at <= feed.newest_at_start
    )


def note_page(
    db: Connection,
    lease: Lease,
    arrivals: Sequence[Arrival],
    move: Mapping[str, Any],
    now: datetime,
    erased: Sequence[ErasedCustomer] = (),
) -> list[Arrival]:
    """Owe a package to each customer who is new, and move past the page; both or neither.

    Those who were erased are noted as such, in the same transaction.

    Returns whom it is owed to from now on. Raises LeaseLost when the cursor is not where this page
    was read from, or the lease is another's.
    """
    erasures.note(db, erased, now)
    new = owe(db, arrivals, now)
    if db.execute(_MOVE, {**move, "epoch": lease.epoch, "now": now}).rowcount != 1:
        raise LeaseLost
    return new


def owe(db: Connection, arrivals: Sequence[Arrival], now: datetime) -> list[Arrival]:
    """Owe a package to each customer who is new, and return these. The caller fences it.

    None to one who was erased, however much earlier that was told.
    """
    uids = [a.customer_uid for a in arrivals]
    known = set(_OWED.all(db, uids=uids))
    new = list({a.customer_uid: a for a in arrivals if a.customer_uid not in known}.values())
    erased = erasures.among(db, uids) if new else set()
    for arrival in new:
        if arrival.customer_uid in erased:
            arrival.customer_name, arrival.skip_reason = None, "erased"
    for state, alike in groupby(new, key=attrgetter("state")):
        _OWE.each(
            db,
            [vars(arrival) for arrival in alike],
            state=state,
            error_class="unreadable" if state == "dead" else None,
            attempt_count=0,
            next_attempt_at=now if state == "pending" else None,
            never_claimed=True,
            tried_seconds_before=0.0,
            created_at=now,
            updated_at=now,
        )
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


def is_above(db: Connection, mark: int) -> bool:
    """Tell whether more than so many are not finished."""
    return _BEYOND.first(db, mark=mark) is not None
