"""Which tickets a list shows, and in which order.

Lists by status are put together: for each status an index has the first rows in order, and the page
is the first of those. One look into an index for several statuses would sort all that it finds.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    literal,
    or_,
    select,
    tuple_,
    union_all,
)

from crm_api.tickets.lifecycle import STATUSES, Priority, Status
from crm_api.tickets.models import Ticket, ticket_tags, tickets
from crm_api.tickets.store import SEARCH, WHOLE
from service_kit.database.prepared import PreparedPages
from service_kit.database.rows import find_all, page_after
from service_kit.database.types import BigInt, UtcDateTime
from service_kit.web.paging import InstantKey, Page, instant_key, page_of

_ALL = PreparedPages(Ticket, WHOLE, tickets.c.id)
_DUE_AT = tickets.c.due_at
_KEYS = select(tickets.c.id, _DUE_AT)
Selected = Select[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which tickets a list shows.

    `statuses` are alternatives, and none means any; `is_unassigned` is for tickets without an
    assignee; `overdue_at` is the instant at which they are overdue.
    """

    customer_id: int | None = None
    statuses: frozenset[Status] = frozenset()
    priority: Priority | None = None
    assignee: str | None = None
    is_unassigned: bool = False
    tag: str | None = None
    q: str | None = None
    overdue_at: datetime | None = None
    is_overdue: bool = True
    created_after: datetime | None = None
    created_before: datetime | None = None
    ascending: bool = True
    by_deadline: bool = False

    @property
    def is_narrow(self) -> bool:
        """Whether an index of its own finds what it names: to sort that is no work."""
        return any(one is not None for one in (self.customer_id, self.tag, self.q))

    @property
    def is_long(self) -> bool:
        """Whether a page may cost more than its own rows."""
        no_index = self.tag, self.q, self.created_after, self.created_before
        return any(one is not None for one in no_index) or (
            self.by_deadline and self.priority is not None
        )


def page(db: Connection, filters: Filter, after: int | None, limit: int) -> Page[Ticket]:
    """List tickets by id, from the one behind `after`."""
    ascending = filters.ascending
    key = tickets.c.id if filters.q is None else SEARCH.rowid
    if filters == Filter(ascending=ascending):
        rows = _ALL.page(db, after, limit + 1, ascending=ascending)
    elif filters.is_narrow or not (filters.statuses or filters.priority):
        statement = _matching(db, WHOLE, filters, filters.statuses)
        statement = page_after(statement, key, after, limit + 1, ascending=ascending)
        rows = find_all(Ticket, db, statement)
    else:
        parts = [
            page_after(part, key, after, limit + 1, ascending=ascending)
            for part in _by_status(db, filters)
        ]
        rows = _first(db, parts, filters, limit + 1)
    return page_of(rows, limit, key="id")


def page_by_deadline(
    db: Connection, filters: Filter, after: InstantKey | None, limit: int
) -> Page[Ticket]:
    """List tickets by their next deadline, from the one behind `after`; those without one last."""
    if filters.is_narrow:
        statement = _matching(db, WHOLE, filters, filters.statuses)
        if after is not None:
            statement = statement.where(or_(*_behind(*after)))
        statement = statement.order_by(*_order(tickets.c, filters)).limit(limit + 1)
        rows = find_all(Ticket, db, statement)
    else:
        parts = _parts_by_deadline(db, filters, after, limit + 1)
        rows = _first(db, parts, filters, limit + 1)
    shown = rows[:limit]
    last = shown[-1] if len(rows) > limit else None
    return Page(shown, None if last is None else instant_key(last.due_at, last.id))


def _by_status(db: Connection, filters: Filter) -> list[Selected]:
    """Select ids and deadlines, for each status alone."""
    statuses = sorted(filters.statuses or STATUSES)
    return [_matching(db, _KEYS, filters, [status]) for status in statuses]


def _parts_by_deadline(
    db: Connection, filters: Filter, after: InstantKey | None, limit: int
) -> list[Selected]:
    """Select, for each status, the first that have a deadline and the first that have none."""
    behind = [_DUE_AT.is_not(None), _DUE_AT.is_(None)] if after is None else _behind(*after)
    if filters.overdue_at is not None and filters.is_overdue:
        behind = behind[:1]  # without a deadline nothing is overdue
    # The assignee is the same in all. PostgreSQL takes the order from an index on it even where it
    # is NULL, if it stands in the order.
    of_one = filters.assignee is not None or filters.is_unassigned
    order = [tickets.c.assignee] * of_one + [_DUE_AT, tickets.c.id]
    return [
        part.where(condition).order_by(*order).limit(limit)
        for part in _by_status(db, filters)
        for condition in behind
    ]


def _behind(due_at: datetime | None, row_id: int) -> list[ColumnElement[bool]]:
    """Build the conditions of which a row behind this one fulfils one."""
    if due_at is None:
        return [and_(_DUE_AT.is_(None), tickets.c.id > row_id)]
    key = tuple_(literal(due_at, UtcDateTime), literal(row_id, BigInt))
    return [tuple_(_DUE_AT, tickets.c.id) > key, _DUE_AT.is_(None)]


def _first(db: Connection, parts: Sequence[Selected], filters: Filter, limit: int) -> list[Ticket]:
    """Read the first tickets of all parts."""
    # SQLite takes a LIMIT within a UNION only in a subquery.
    found = union_all(*(select(part.subquery()) for part in parts)).subquery()
    chosen = select(found).order_by(*_order(found.c, filters)).limit(limit).subquery()
    statement = WHOLE.join(chosen, chosen.c.id == tickets.c.id)
    return find_all(Ticket, db, statement.order_by(*_order(chosen.c, filters)))


def _order(columns: Any, filters: Filter) -> list[ColumnElement[Any]]:
    if filters.by_deadline:
        return [columns.due_at.is_(None), columns.due_at, columns.id]
    return [columns.id.asc() if filters.ascending else columns.id.desc()]


def _matching(
    db: Connection, statement: Selected, filters: Filter, statuses: Collection[Status]
) -> Selected:
    if filters.q is not None:
        statement = statement.join(SEARCH.table, SEARCH.rowid == tickets.c.id)
        statement = statement.where(*SEARCH.holding(db, filters.q))
    if statuses:
        statement = statement.where(tickets.c.status.in_(statuses))
    for column in ("customer_id", "priority", "assignee"):
        if (value := getattr(filters, column)) is not None:
            statement = statement.where(tickets.c[column] == value)
    return statement.where(*_further_conditions(filters))


def _further_conditions(filters: Filter) -> Iterator[ColumnElement[bool]]:
    if filters.is_unassigned:
        yield tickets.c.assignee.is_(None)
    if filters.tag is not None:
        yield tickets.c.id.in_(
            select(ticket_tags.c.ticket_id).where(ticket_tags.c.tag == filters.tag)
        )
    if filters.overdue_at is not None:
        due_at = tickets.c.due_at
        is_not = or_(due_at.is_(None), due_at > filters.overdue_at)
        yield due_at <= filters.overdue_at if filters.is_overdue else is_not
    if filters.created_after is not None:
        yield tickets.c.created_at > filters.created_after
    if filters.created_before is not None:
        yield tickets.c.created_at < filters.created_before
