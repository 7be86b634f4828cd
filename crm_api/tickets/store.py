"""The statements about tickets."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, delete, insert, or_, select, update

from crm_api.search import SearchIndex, folded
from crm_api.tables import stored_answers
from crm_api.tickets.lifecycle import Priority, Status
from crm_api.tickets.models import (
    HistoryEntry,
    Ticket,
    TicketNote,
    notes,
    ticket_history,
    ticket_tags,
    tickets,
)
from service_kit.database.as_json import json_list, json_tuple
from service_kit.database.prepared import Prepared, PreparedPages
from service_kit.database.rows import find_all, find_one, get_one, page_after
from service_kit.web.paging import Page, page_of

_SEARCH = SearchIndex("ticket_search")

_BY_ID = select(tickets).where(tickets.c.id == bindparam("id"))
_TAGS = (
    select(json_tuple(ticket_tags.c.tag).label("found"))
    .where(ticket_tags.c.ticket_id == tickets.c.id)
    .order_by(ticket_tags.c.tag)
)
_STATUS_CHANGES = (
    select(json_tuple(ticket_history.c.at, ticket_history.c.new).label("found"))
    .where(ticket_history.c.ticket_id == tickets.c.id, ticket_history.c.field == "status")
    .order_by(ticket_history.c.id)
)
_PUBLIC_NOTES = (
    select(json_tuple(notes.c.created_at, notes.c.author_kind).label("found"))
    .where(notes.c.ticket_id == tickets.c.id, notes.c.visibility == "public")
    .order_by(notes.c.id)
)


class WholeTicket(NamedTuple):
    """A ticket with its tags and what moved its clocks, each as a JSON array."""

    id: int
    uid: str
    customer_id: int
    subject: str
    description: str
    status: Status
    priority: Priority
    assignee: str | None
    follow_up_of: int | None
    version: int
    created_at: datetime
    updated_at: datetime
    resolved_at: datetime | None
    closed_at: datetime | None
    due_at: datetime | None
    tags: str
    status_changes: str
    public_notes: str


# In one statement: each costs a round trip.
_WHOLE = select(
    tickets,
    json_list(_TAGS.scalar_subquery()).label("tags"),
    json_list(_STATUS_CHANGES.scalar_subquery()).label("status_changes"),
    json_list(_PUBLIC_NOTES.scalar_subquery()).label("public_notes"),
)
_WHOLE_BY_ID = Prepared(WholeTicket, _WHOLE.where(tickets.c.id == bindparam("id")))


@dataclass(frozen=True, slots=True)
class Filter:
    """Which tickets a list shows. `overdue_at` is the instant at which they are overdue."""

    customer_id: int | None = None
    status: str | None = None
    priority: str | None = None
    assignee: str | None = None
    tag: str | None = None
    q: str | None = None
    overdue_at: datetime | None = None
    is_overdue: bool = True
    ascending: bool = True


_ALL = PreparedPages(WholeTicket, _WHOLE, tickets.c.id)


def find_whole(db: Connection, ticket_id: int) -> WholeTicket | None:
    """Look up with tags, status changes and public notes."""
    return _WHOLE_BY_ID.first(db, id=ticket_id)


def find(db: Connection, ticket_id: int, *, lock: bool = False) -> Ticket | None:
    statement = _BY_ID.with_for_update() if lock else _BY_ID
    return find_one(Ticket, db, statement, {"id": ticket_id})


def add(db: Connection, values: Mapping[str, Any]) -> Ticket:
    ticket = get_one(Ticket, db, insert(tickets).returning(tickets), values)
    _SEARCH.add(db, [(ticket.id, folded(ticket.subject, ticket.description))])
    return ticket


def change(db: Connection, ticket_id: int, values: Mapping[str, Any]) -> Ticket:
    statement = update(tickets).where(tickets.c.id == ticket_id)
    counted = {**values, "version": tickets.c.version + 1}
    ticket = get_one(Ticket, db, statement.values(counted).returning(tickets))
    if "subject" in values or "description" in values:
        _SEARCH.change(db, ticket_id, folded(ticket.subject, ticket.description))
    return ticket


def remove(db: Connection, ticket: Ticket) -> None:
    """Delete a ticket with its tags, notes and history, and empty stored answers with any of it."""
    ticket_id = ticket.id
    db.execute(update(tickets).where(tickets.c.follow_up_of == ticket_id).values(follow_up_of=None))
    for table in (ticket_tags, notes, ticket_history):
        db.execute(delete(table).where(table.c.ticket_id == ticket_id))
    db.execute(delete(tickets).where(tickets.c.id == ticket_id))
    _SEARCH.remove(db, ticket_id)
    stored_answers.forget(db, [ticket.uid])


def set_tags(db: Connection, ticket_id: int, tags: Collection[str]) -> None:
    db.execute(delete(ticket_tags).where(ticket_tags.c.ticket_id == ticket_id))
    if tags:
        rows = [{"ticket_id": ticket_id, "tag": tag} for tag in sorted(set(tags))]
        db.execute(insert(ticket_tags), rows)


def add_note(db: Connection, values: Mapping[str, Any]) -> TicketNote:
    return get_one(TicketNote, db, insert(notes).returning(notes), values)


def notes_page(db: Connection, ticket_id: int, after: int | None, limit: int) -> Page[TicketNote]:
    statement = select(notes).where(notes.c.ticket_id == ticket_id)
    statement = page_after(statement, notes.c.id, after, limit + 1)
    return page_of(find_all(TicketNote, db, statement), limit, key="id")


def add_history(db: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        db.execute(insert(ticket_history), [dict(row) for row in rows])


def history_page(
    db: Connection, ticket_id: int, after: int | None, limit: int
) -> Page[HistoryEntry]:
    statement = select(ticket_history).where(ticket_history.c.ticket_id == ticket_id)
    statement = page_after(statement, ticket_history.c.id, after, limit + 1)
    return page_of(find_all(HistoryEntry, db, statement), limit, key="id")


def page(db: Connection, wanted: Filter, after: int | None, limit: int) -> Page[WholeTicket]:
    """List tickets by id, from the one behind `after`, as `find_whole` finds one."""
    if wanted == Filter(ascending=wanted.ascending):
        rows = _ALL.page(db, after, limit + 1, ascending=wanted.ascending)
        return page_of(rows, limit, key="id")
    statement = _WHOLE
    key: ColumnElement[int] = tickets.c.id
    if wanted.q is not None:
        key = _SEARCH.rowid
        statement = statement.join(_SEARCH.table, key == tickets.c.id)
        statement = statement.where(*_SEARCH.holding(db, wanted.q))
    for column in ("customer_id", "status", "priority", "assignee"):
        if (value := getattr(wanted, column)) is not None:
            statement = statement.where(tickets.c[column] == value)
    if wanted.tag is not None:
        tagged = select(ticket_tags.c.ticket_id).where(ticket_tags.c.tag == wanted.tag)
        statement = statement.where(tickets.c.id.in_(tagged))
    if wanted.overdue_at is not None:
        due = tickets.c.due_at <= wanted.overdue_at
        is_not = or_(tickets.c.due_at.is_(None), tickets.c.due_at > wanted.overdue_at)
        statement = statement.where(due if wanted.is_overdue else is_not)
    statement = page_after(statement, key, after, limit + 1, ascending=wanted.ascending)
    return page_of(find_all(WholeTicket, db, statement), limit, key="id")
