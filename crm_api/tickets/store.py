"""The statements about tickets."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from crm_api.as_json import json_list, json_tuple
from crm_api.search import SearchIndex, fold
from crm_api.tables import stored_answers
from crm_api.tickets.models import HistoryEntry, Ticket, notes, ticket_history, ticket_tags, tickets
from crm_api.tickets.schemas import NoteOut
from service_kit.database.prepared import Prepared
from service_kit.database.rows import find_all, page_after
from service_kit.web.paging import Page, page_of

SEARCH = SearchIndex("ticket_search")

_LOCK = select(tickets.c.id).where(tickets.c.id == bindparam("id")).with_for_update()
_TAGS = select(json_tuple(ticket_tags.c.tag).label("found")).where(
    ticket_tags.c.ticket_id == tickets.c.id
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


# In one statement: each costs a round trip.
WHOLE = select(
    tickets,
    json_list(_TAGS.scalar_subquery()).label("json_tags"),
    json_list(_STATUS_CHANGES.scalar_subquery()).label("status_changes"),
    json_list(_PUBLIC_NOTES.scalar_subquery()).label("public_notes"),
)
_BY_ID = Prepared(Ticket, WHOLE.where(tickets.c.id == bindparam("id")))


def find(db: Connection, ticket_id: int, *, lock: bool = False) -> Ticket | None:
    """Look up one ticket; `lock` keeps others from changing it until this transaction ends."""
    if lock:
        # Before it is read: whoever had it locked may have added to its tags, notes and history.
        db.execute(_LOCK, {"id": ticket_id})
    return _BY_ID.first(db, id=ticket_id)


def add(db: Connection, values: Mapping[str, Any]) -> int:
    """Insert a ticket. Returns its id."""
    ticket_id: int = db.execute(insert(tickets).returning(tickets.c.id), values).scalar_one()
    SEARCH.add(db, [(ticket_id, fold(values["subject"], values["description"]))])
    return ticket_id


def change(db: Connection, before: Ticket, values: Mapping[str, Any]) -> Ticket:
    """Change a ticket that is locked. Returns it with its columns as they are then."""
    values = {**values, "version": before.version + 1}
    db.execute(update(tickets).where(tickets.c.id == before.id).values(values))
    after = before._replace(**values)
    if "subject" in values or "description" in values:
        SEARCH.change(db, after.id, fold(after.subject, after.description))
    return after


def remove(db: Connection, ticket: Ticket) -> None:
    """Delete a ticket with its tags, notes and history, and empty stored answers with any of it."""
    ticket_id = ticket.id
    db.execute(update(tickets).where(tickets.c.follow_up_of == ticket_id).values(follow_up_of=None))
    for table in (ticket_tags, notes, ticket_history):
        db.execute(delete(table).where(table.c.ticket_id == ticket_id))
    db.execute(delete(tickets).where(tickets.c.id == ticket_id))
    SEARCH.remove(db, ticket_id)
    stored_answers.forget(db, [ticket.uid])


def set_tags(db: Connection, ticket_id: int, tags: Collection[str]) -> None:
    db.execute(delete(ticket_tags).where(ticket_tags.c.ticket_id == ticket_id))
    if tags:
        rows = [{"ticket_id": ticket_id, "tag": tag} for tag in sorted(set(tags))]
        db.execute(insert(ticket_tags), rows)


def add_note(db: Connection, values: Mapping[str, Any]) -> NoteOut:
    added = db.execute(insert(notes).returning(notes), values)
    return NoteOut.model_validate(added.mappings().one())


def notes_page(db: Connection, ticket_id: int, after: int | None, limit: int) -> Page[NoteOut]:
    statement = select(notes).where(notes.c.ticket_id == ticket_id)
    statement = page_after(statement, notes.c.id, after, limit + 1)
    found = db.execute(statement).mappings()
    return page_of([NoteOut.model_validate(row) for row in found], limit, key="id")


def add_history(db: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        db.execute(insert(ticket_history), [dict(row) for row in rows])


def history_page(
    db: Connection, ticket_id: int, after: int | None, limit: int
) -> Page[HistoryEntry]:
    statement = select(ticket_history).where(ticket_history.c.ticket_id == ticket_id)
    statement = page_after(statement, ticket_history.c.id, after, limit + 1)
    return page_of(find_all(HistoryEntry, db, statement), limit, key="id")


def rebuild_search(db: Connection) -> None:
    """Enter all tickets into an empty index."""
    SEARCH.rebuild(db, select(tickets.c.id, tickets.c.subject, tickets.c.description))
