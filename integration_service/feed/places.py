"""How far each webhook's route has read the feed. Each write names its poller's lease first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select, update

from integration_service.deliveries import erasures
from integration_service.deliveries.models import OwedEvent
from integration_service.deliveries.store import owe_events
from integration_service.feed.models import FeedPage
from integration_service.ledger.lease import Lease, LeaseLost, fence
from integration_service.ledger.models import RouteState, routes
from integration_service.routes.definitions import ERASED
from service_kit.database.rows import find_all
from service_kit.database.types import UtcDateTime

# Where a route begins that has no place in the feed: the oldest event that is left, or none that is
# there by now. A person has chosen either when accepting a gap.
OLDEST, NEWEST = "oldest", "newest"

_STATES = select(*(routes.c[name] for name in RouteState._fields)).order_by(routes.c.name)
_MOVE = (
    update(routes)
    .where(
        routes.c.name == bindparam("route"),
        routes.c.cursor.is_not_distinct_from(bindparam("old")),
        routes.c.feed_state == "running",
    )
    .values(
        first_position=func.coalesce(routes.c.first_position, bindparam("first")),
        cursor=bindparam("new"),
        position=bindparam("through"),
        head_position=bindparam("head"),
        last_poll_at=bindparam("now"),
        caught_up_at=func.coalesce(
            bindparam("caught_up", type_=UtcDateTime), routes.c.caught_up_at
        ),
    )
)
_BEGIN = (
    update(routes)
    .where(routes.c.name == bindparam("route"), routes.c.cursor.is_(None))
    .values(
        start_from=bindparam("start"),
        cursor=bindparam("new"),
        position=bindparam("through"),
        head_position=None,
    )
)
_BREAK = (
    update(routes)
    .where(routes.c.name == bindparam("route"))
    .values(feed_state="gap", last_error=bindparam("error"), last_error_at=bindparam("now"))
)


@dataclass(frozen=True, slots=True)
class Move:
    """From where to where a page moves each route that it was read for."""

    old: str | None
    page: FeedPage


def states(db: Connection) -> dict[str, RouteState]:
    """Return all routes, also those that are in the file no longer."""
    return {row.name: row for row in find_all(RouteState, db, _STATES)}


def begin(
    db: Connection,
    lease: Lease,
    names: Sequence[str],
    start_from: str,
    cursor: str | None,
    position: int | None,
) -> None:
    """Write down where routes begin that have no place in the feed yet."""
    fence(db, lease)
    place = {"start": start_from, "new": cursor, "through": position}
    for name in names:
        db.execute(_BEGIN, {"route": name, **place})


def note_page(
    db: Connection,
    lease: Lease,
    move: Move,
    owed: Mapping[str, Sequence[OwedEvent]],
    now: datetime,
) -> None:
    """Owe each route the events that are its own, and move all of them past the page; or nothing.

    Raises LeaseLost when one of them is not where this page was read from, or the lease is
    another's.
    """
    fence(db, lease)
    page = move.page
    for name, found in owed.items():
        owe_events(db, name, found, now)
        moved = db.execute(
            _MOVE,
            {
                "route": name,
                "old": move.old,
                "first": page.from_position - 1,
                "new": page.next_cursor,
                "through": page.through_position,
                "head": page.head_position,
                "caught_up": None if page.has_more else now,
                "now": now,
            },
        ).rowcount
        if moved != 1:
            raise LeaseLost
    erasures.forget_answers(db, _erased(page))


def _erased(page: FeedPage) -> list[str]:
    """Return whose erasure a page reports, whether or not any route asks for that."""
    return [
        event["subject"]
        for event in page.events
        if isinstance(event, Mapping)
        and event.get("type") == ERASED
        and isinstance(event.get("subject"), str)
    ]


def mark_gap(db: Connection, lease: Lease, names: Sequence[str], error: str, now: datetime) -> None:
    """Stop reading for these routes until a person accepts that events are missing."""
    fence(db, lease)
    for name in names:
        db.execute(_BREAK, {"route": name, "error": error, "now": now})
