"""The statements that count. Each has an index that holds all that it looks at."""

from collections import Counter

from sqlalchemy import Connection, String, bindparam, func, select

from crm_api.customers.models import customers
from crm_api.feed.models import events, feed_head
from crm_api.stats.schemas import Stats, TicketStats, WaitingTickets
from crm_api.tickets.lifecycle import PRIORITIES, STATUSES, WORKING
from crm_api.tickets.models import tickets
from service_kit.database.counting import KindCounts
from service_kit.process import clock

_CUSTOMERS = select(func.count()).select_from(customers)
_ERASED = _CUSTOMERS.where(customers.c.erased_at.is_not(None))
_TICKETS = KindCounts(tickets.c.status, tickets.c.priority)
_OVERDUE = (
    select(func.count()).select_from(tickets).where(tickets.c.due_at <= bindparam("overdue_at"))
)
_UNFINISHED = select(func.count()).select_from(tickets).where(tickets.c.status.in_(WORKING))
_WAITING = select(
    _UNFINISHED.where(tickets.c.assignee.is_(None)).scalar_subquery(),
    _OVERDUE.scalar_subquery(),
    _UNFINISHED.where(tickets.c.assignee == bindparam("assignee", type_=String)).scalar_subquery(),
)
# Where a reader would find the head: reading numbers what has no position.
_UNNUMBERED = select(func.count()).select_from(events).where(events.c.position.is_(None))
_HEAD = select(feed_head.c.last_position + _UNNUMBERED.scalar_subquery())
# One statement, so that what is numbered meanwhile is not counted twice.
_REST = select(
    _CUSTOMERS.scalar_subquery() - _ERASED.scalar_subquery(),
    _OVERDUE.scalar_subquery(),
    _HEAD.scalar_subquery(),
)


def waiting_tickets(db: Connection, assignee: str | None) -> WaitingTickets:
    """Count the tickets that need a person. Each count looks at what it counts alone."""
    unassigned, overdue, assigned = db.execute(
        _WAITING, {"assignee": assignee, "overdue_at": clock.now()}
    ).one()
    return WaitingTickets(
        unassigned=unassigned,
        overdue=overdue,
        assigned=None if assignee is None else assigned,
    )


def count(db: Connection) -> Stats:
    """Count what there is. An erased customer is none; a status that no ticket has is 0."""
    by_status: Counter[str] = Counter()
    by_priority: Counter[str] = Counter()
    for (status, priority), number in _TICKETS(db).items():
        by_status[status] += number
        by_priority[priority] += number
    live, overdue, head = db.execute(_REST, {"overdue_at": clock.now()}).one()
    return Stats(
        customers=live,
        tickets=TicketStats(
            total=by_status.total(),
            by_status={status: by_status[status] for status in STATUSES},
            by_priority={priority: by_priority[priority] for priority in PRIORITIES},
            overdue=overdue,
        ),
        feed_head=head,
    )
