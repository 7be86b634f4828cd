"""What a dashboard shows."""

from collections import Counter

from sqlalchemy import Connection

from crm_api.stats import store
from crm_api.stats.schemas import Stats, TicketStats
from crm_api.tickets.lifecycle import PRIORITIES, STATUSES
from service_kit.process import clock


def count(db: Connection) -> Stats:
    """Count what there is. An erased customer is none; a status that no ticket has is 0."""
    by_status: Counter[str] = Counter()
    by_priority: Counter[str] = Counter()
    for row in store.ticket_counts(db):
        by_status[row.status] += row.number
        by_priority[row.priority] += row.number
    return Stats(
        customers=store.customer_count(db),
        tickets=TicketStats(
            total=by_status.total(),
            by_status={status: by_status[status] for status in STATUSES},
            by_priority={priority: by_priority[priority] for priority in PRIORITIES},
            overdue=store.overdue_count(db, clock.now()),
        ),
        feed_head=store.feed_head_position(db),
    )
