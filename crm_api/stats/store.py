"""The statements that count. Each has an index that holds all that it looks at."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, select

from crm_api.customers.models import customers
from crm_api.feed.models import events, feed_head
from crm_api.tickets.models import tickets
from service_kit.database.rows import find_all


class TicketCount(NamedTuple):
    status: str
    priority: str
    number: int


_CUSTOMERS = select(func.count()).select_from(customers)
_ERASED = _CUSTOMERS.where(customers.c.erased_at.is_not(None))
# One statement, so that who comes and goes meanwhile is not subtracted without being counted.
_LIVE = select(_CUSTOMERS.scalar_subquery() - _ERASED.scalar_subquery())
_TICKETS = select(tickets.c.status, tickets.c.priority, func.count().label("number")).group_by(
    tickets.c.status, tickets.c.priority
)
_OVERDUE = (
    select(func.count()).select_from(tickets).where(tickets.c.due_at <= bindparam("overdue_at"))
)
_UNNUMBERED = select(func.count()).select_from(events).where(events.c.position.is_(None))
# One statement, so that what is numbered meanwhile is not counted twice.
_HEAD = select(feed_head.c.last_position + _UNNUMBERED.scalar_subquery())


def customer_count(db: Connection) -> int:
    number: int = db.execute(_LIVE).scalar_one()
    return number


def ticket_counts(db: Connection) -> Sequence[TicketCount]:
    """Count tickets by status and priority."""
    return find_all(TicketCount, db, _TICKETS)


def overdue_count(db: Connection, now: datetime) -> int:
    count: int = db.execute(_OVERDUE, {"overdue_at": now}).scalar_one()
    return count


def feed_head_position(db: Connection) -> int:
    """Find where a reader would find the head: reading numbers what has no position."""
    position: int = db.execute(_HEAD).scalar_one()
    return position
