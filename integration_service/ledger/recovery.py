"""The walk over all customers after which a feed that can't be gone on with goes on elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, update

from integration_service.ledger import erasures, store
from integration_service.ledger.lease import Lease, LeaseLost, fence
from integration_service.ledger.models import poller
from integration_service.ledger.records import Arrival, ErasedCustomer
from service_kit.database.types import AnyRow


@dataclass(frozen=True, slots=True)
class Walked:
    """A page of customers, and where the walk goes on; nowhere after the last."""

    read: int
    arrivals: Sequence[Arrival]
    erased: Sequence[ErasedCustomer]
    # Where the feed stood before the first page was read, which the first page tells.
    feed_cursor: str
    next_page: str | None


def begin(
    db: Connection,
    lease: Lease,
    reason: str,
    error: str,
    now: datetime,
    *,
    is_start_known: bool = True,
) -> None:
    """Begin the walk, or begin it anew."""
    fence(db, lease)
    forgotten = {} if is_start_known else {"start_cursor": None}
    db.execute(
        update(poller).values(
            **forgotten,
            feed_state="recovering",
            recovery_reason=reason,
            recovery_began_at=now,
            recovery_cursor=None,
            recovery_page=None,
            recovery_read=0,
            recovery_new=0,
            last_poll_at=now,
            last_error=error,
            last_error_at=now,
        )
    )


def note(
    db: Connection, lease: Lease, feed: AnyRow, walked: Walked, now: datetime
) -> list[Arrival]:
    """Owe a package to each customer of a page who is new, and move past the page; both or neither.

    After the last page the feed goes on where it stood before the first: what the two tell of both
    is ignored the second time. Returns whom a package is owed to from now on. Raises LeaseLost when
    the walk is not where this page was read from, or the lease is another's.
    """
    erasures.note(db, walked.erased, now)
    new = store.owe(db, walked.arrivals, now)
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


def _at_the_end(feed: AnyRow, walked: Walked, now: datetime) -> dict[str, Any]:
    end = {
        "feed_state": "running",
        "cursor": walked.feed_cursor,
        "position": None,  # unknown until the next page of the feed tells
        "head_position": None,
        "recoveries": poller.c.recoveries + 1,
        "recovered_at": now,
    }
    if feed.start_from == "now" and feed.start_cursor is None:
        # Whoever stands before it is in the ledger by now, or is owed nothing.
        end["start_cursor"] = walked.feed_cursor
    return end
