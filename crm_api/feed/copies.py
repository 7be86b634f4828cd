"""What must hold of the feed in a copy of its database, and what a restored one begins anew."""

import secrets
from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection, func, select, update

from crm_api.feed.models import events, feed_head
from service_kit.database.copies import JUMP

# As many as one can read.
_MOST_FAULTS = 5


def faults(db: Connection) -> Iterator[str]:
    """Find positions that are missing, but for those that a restore has left out."""
    heads = db.execute(select(feed_head.c.last_position, feed_head.c.pruned_position)).all()
    if len(heads) != 1:
        yield f"the feed has {len(heads)} heads"
        return
    [(last, pruned)] = heads
    before = func.lag(events.c.position, 1, pruned).over(order_by=events.c.position)
    pairs = (
        select(before.label("before"), events.c.position)
        .where(events.c.position.is_not(None))
        .subquery()
    )
    broken = select(pairs).where(_is_hole(pairs.c.position - pairs.c.before - 1))
    for row in db.execute(broken.order_by(pairs.c.position).limit(_MOST_FAULTS)):
        yield f"the feed has a hole between positions {row.before} and {row.position}"
    highest = db.execute(select(func.max(events.c.position))).scalar_one()
    if (left := last - max(pruned, highest or 0)) < 0 or left % JUMP:
        yield f"the feed's head is at {last}, and its last event at {highest or 'none'}"


def renew(db: Connection) -> None:
    """Begin a new epoch, whose positions were never used: what readers know of the old one is void.

    Their cursors are answered 409 `feed-diverged`, and they read all customers again.
    """
    values = {
        "epoch": secrets.token_hex(8),
        "last_position": feed_head.c.last_position + JUMP,
    }
    db.execute(update(feed_head).values(values))


def _is_hole(missing: ColumnElement[int]) -> ColumnElement[bool]:
    return (missing < 0) | (missing % JUMP != 0)
