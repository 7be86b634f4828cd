"""The place in the feed, and the walk over all customers where it is no longer valid.

Each write names its poller's lease first.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, update

from integration_service.deliveries import destinations, erasures
from integration_service.deliveries.ahead import Noted, settle
from integration_service.deliveries.models import Arrival, ErasedCustomer, Settlement
from integration_service.deliveries.store import owe
from integration_service.feed.models import Newest, Walked
from integration_service.ledger.lease import Lease, LeaseLost, fence
from integration_service.ledger.models import PollerState, poller
from integration_service.targets.target import Destination
from service_kit.database.types import UtcDateTime

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


def begin(db: Connection, lease: Lease, now: datetime, at: Newest | None) -> None:
    """Write down where to start: at a place in the feed, or at its beginning.

    Only the very first time it has an effect.
    """
    fence(db, lease)
    start = {
        "start_from": "now" if at else "beginning",
        "started_at": now,
        "cursor": at and at.feed_cursor,
        "position": None if at else 0,
        "start_cursor": at and at.feed_cursor,
        "newest_at_start": at and at.created_at,
    }
    db.execute(update(poller).where(poller.c.start_from.is_(None)).values(**start))


def note_page(
    db: Connection,
    lease: Lease,
    arrivals: Sequence[Arrival],
    move: Mapping[str, Any],
    now: datetime,
    erased: Sequence[ErasedCustomer] = (),
    changed: Sequence[Destination] = (),
) -> list[Arrival]:
    """Owe a package to each customer who is new, and move past the page; both or neither.

    Those who were erased are noted as such, in the same transaction, and new addresses too.

    Returns whom it is owed to from now on. Raises LeaseLost when the cursor is not where this page
    was read from, or the lease is another's.
    """
    erasures.note(db, erased, now)
    destinations.note(db, changed)
    new = owe(db, arrivals, now)
    _move(db, lease, move, now)
    return new


def note_ahead(
    db: Connection,
    lease: Lease,
    arrivals: Sequence[Arrival],
    move: Mapping[str, Any],
    now: datetime,
    settlements: Mapping[str, Settlement],
) -> Noted:
    """Do the same for a page that is being sent already, with what came of that where it is known.

    Returns the deliveries that are owed from now on.
    """
    # First, as whoever claims does: a pause, or another poller, comes before all of it or after.
    fence(db, lease)
    new = owe(db, arrivals, now, lease.epoch)
    _move(db, lease, move, now)
    return settle(db, lease, new, settlements)


def _move(db: Connection, lease: Lease, move: Mapping[str, Any], now: datetime) -> None:
    if db.execute(_MOVE, {**move, "epoch": lease.epoch, "now": now}).rowcount != 1:
        raise LeaseLost


def mark_feed(db: Connection, lease: Lease, state: str, error: str, now: datetime) -> None:
    """Say why the feed is not read on."""
    note_error(db, lease, error, now)
    db.execute(update(poller).values(feed_state=state))


def note_error(db: Connection, lease: Lease, error: str, now: datetime) -> None:
    fence(db, lease)
    db.execute(update(poller).values(last_poll_at=now, last_error=error, last_error_at=now))


def begin_recovery(
    db: Connection,
    lease: Lease,
    reason: str | None,
    error: str,
    now: datetime,
    *,
    is_start_known: bool = True,
) -> None:
    """Begin the walk, or begin it anew."""
    mark_feed(db, lease, "recovering", error, now)
    db.execute(
        update(poller).values(
            **({} if is_start_known else {"start_cursor": None}),
            recovery_reason=reason,
            recovery_began_at=now,
            recovery_cursor=None,
            recovery_page=None,
            recovery_read=0,
            recovery_new=0,
        )
    )


def note_walked(
    db: Connection, lease: Lease, feed: PollerState, walked: Walked, now: datetime
) -> list[Arrival]:
    """Owe a package to each customer of a page who is new, and move past the page; both or neither.

    After the last page the feed continues where it stood before the first; whoever is in both is
    ignored the second time. Returns whom a package is owed to from now on. Raises LeaseLost when
    the walk is not where this page was read from, or the lease is another's.
    """
    erasures.note(db, walked.erased, now)
    destinations.note(db, walked.destinations)
    new = owe(db, walked.arrivals, now)
    values = {
        "recovery_cursor": walked.feed_cursor,
        "recovery_page": walked.next_page,
        "recovery_read": poller.c.recovery_read + walked.read,
        "recovery_new": poller.c.recovery_new + len(new),
        "last_poll_at": now,
    }
    if walked.next_page is None:
        values |= _at_the_end(feed, walked, now)
    moved = db.execute(
        update(poller)
        .where(
            poller.c.lease_epoch == lease.epoch,
            poller.c.feed_state == "recovering",
            poller.c.recovery_cursor.is_not_distinct_from(feed.recovery_cursor),
            poller.c.recovery_page.is_not_distinct_from(feed.recovery_page),
        )
        .values(**values)
    ).rowcount
    if moved != 1:
        raise LeaseLost
    return new


def _at_the_end(feed: PollerState, walked: Walked, now: datetime) -> dict[str, Any]:
    end = {
        "feed_state": "running",
        "cursor": walked.feed_cursor,
        "position": None,  # unknown until the next page of the feed
        "head_position": None,
        "recoveries": poller.c.recoveries + 1,
        "recovered_at": now,
    }
    if feed.start_from == "now" and feed.start_cursor is None:
        # Whoever stands before it is in the ledger by now, or is owed nothing.
        end["start_cursor"] = walked.feed_cursor
    return end
