"""The rules about tickets."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from sqlalchemy import Connection

from crm_api.customers import service as customers
from crm_api.customers import store as customers_store
from crm_api.customers.models import Customer
from crm_api.events import Event, record
from crm_api.tickets import lifecycle, lists, sla, store
from crm_api.tickets.events import (
    TicketCreated,
    TicketDeleted,
    TicketNoteAdded,
    TicketStatusChanged,
    TicketUpdated,
)
from crm_api.tickets.lists import Filter
from crm_api.tickets.models import HistoryEntry, Ticket
from crm_api.tickets.schemas import NoteNew, NoteOut, TicketChange, TicketNew
from crm_api.tickets.sla import Entry, Policy
from crm_api.tickets.view import TicketView, next_due, note_entry, present
from service_kit.problems import Problem
from service_kit.process import clock
from service_kit.process.logs import current_request_id
from service_kit.web.auth import Principal
from service_kit.web.etags import check_version
from service_kit.web.paging import InstantKey, Page


class TicketNotFound(Problem):
    """There is no ticket with this id."""

    status = HTTPStatus.NOT_FOUND
    slug = "ticket-not-found"


class TicketClosed(Problem):
    """A closed ticket is not changed any more; open a follow-up."""

    status = HTTPStatus.CONFLICT
    slug = "ticket-closed"


class InvalidTransition(Problem):
    """The ticket can't take this status now; `allowed_statuses` are those it can."""

    status = HTTPStatus.CONFLICT
    slug = "invalid-transition"
    example = {"allowed_statuses": ["in_progress", "pending", "on_hold", "resolved"]}


class NoFollowUp(Problem):
    """A follow-up needs a closed ticket of the same customer."""

    status = HTTPStatus.CONFLICT
    slug = "no-follow-up"


class Opened(NamedTuple):
    """A new ticket, and the uid of the customer it is for."""

    view: TicketView
    customer_uid: str


class Noted(NamedTuple):
    """A new note, and the uids of its ticket and of the ticket's customer."""

    note: NoteOut
    ticket_uid: str
    customer_uid: str


def show(db: Connection, ticket_id: int, policy: Policy) -> TicketView:
    """Look up one ticket. Raises TicketNotFound."""
    [shown] = present([get(db, ticket_id)], policy, clock.now())
    return shown


def get(db: Connection, ticket_id: int, *, lock: bool = False) -> Ticket:
    found = store.find(db, ticket_id, lock=lock)
    if found is None:
        raise TicketNotFound("There is no ticket with this id.")
    return found


def page(
    db: Connection, filters: Filter, after: int | None, limit: int, policy: Policy
) -> Page[TicketView]:
    return _shown(lists.page(db, filters, after, limit), policy)


def page_by_deadline(
    db: Connection, filters: Filter, after: InstantKey | None, limit: int, policy: Policy
) -> Page[TicketView]:
    return _shown(lists.page_by_deadline(db, filters, after, limit), policy)


def customers_of(db: Connection, rows: Sequence[TicketView]) -> dict[int, Customer]:
    """Look up the customers of these tickets, by their ids."""
    found = customers_store.by_ids(db, {row.ticket.customer_id for row in rows})
    return {customer.id: customer for customer in found}


def of_customer(
    db: Connection, key: int | str, after: int | None, limit: int, policy: Policy
) -> Page[TicketView]:
    """List a customer's tickets. Raises CustomerNotFound."""
    customer = customers.get(db, key)
    return page(db, Filter(customer_id=customer.id), after, limit, policy)


def open_ticket(db: Connection, new: TicketNew, policy: Policy, who: Principal) -> Opened:
    """Open a ticket. Raises CustomerNotFound or NoFollowUp."""
    customer = customers.get(db, new.customer_id)
    if new.follow_up_of is not None:
        _check_follow_up(store.find(db, new.follow_up_of), customer.id)
    now = clock.now()
    due_at = sla.first_due(sla.clocks(now, new.priority, [], policy, now))
    begun = {"status": "open", "version": 1, "created_at": now, "updated_at": now, "due_at": due_at}
    values = {**new.model_dump(exclude={"tags"}), **begun, "uid": clock.new_id()}
    ticket_id = store.add(db, values)
    store.set_tags(db, ticket_id, new.tags)
    opened = show(db, ticket_id, policy)
    record(db, TicketCreated(opened.ticket), by=who)
    return Opened(opened, customer.uid)


def change(
    db: Connection,
    ticket_id: int,
    change: TicketChange,
    versions: frozenset[int] | None,
    policy: Policy,
    who: Principal,
) -> TicketView:
    """Change the fields that were sent and differ; the history and the feed name each.

    Raises TicketNotFound, PreconditionFailed, TicketClosed or InvalidTransition.
    """
    before = get(db, ticket_id, lock=True)
    check_version(versions, before.version)
    changes = _differences(before, change)
    if not changes:
        return show(db, ticket_id, policy)
    now = clock.now()
    if "status" in changes:
        _check_move(before, changes["status"], now)
    elif before.status == "closed":
        raise TicketClosed("A closed ticket is not changed any more; open a follow-up.")
    if "tags" in changes:
        store.set_tags(db, ticket_id, changes["tags"])
    _keep_history(db, before, changes, now, who)
    record(db, *_write(db, before, changes, policy, now), by=who)
    return show(db, ticket_id, policy)


def add_note(db: Connection, ticket_id: int, new: NoteNew, policy: Policy, who: Principal) -> Noted:
    """Add a note. A customer's public note reopens a pending or resolved ticket.

    Raises TicketNotFound or TicketClosed.
    """
    ticket = get(db, ticket_id, lock=True)
    if ticket.status == "closed":
        raise TicketClosed("A closed ticket takes no more notes; open a follow-up.")
    now = clock.now()
    values = {**new.model_dump(), "ticket_id": ticket_id, "author": who.name, "created_at": now}
    note = store.add_note(db, values)
    changes: dict[str, Any] = {}
    if new.author_kind == "customer" and _is_reopened_by_customer(ticket, now):
        changes["status"] = "open"
        _keep_history(db, ticket, changes, now, who)
    happened = [note_entry(now, new.author_kind)] if new.visibility == "public" else []
    changed = _write(db, ticket, changes, policy, now, *happened)
    record(db, TicketNoteAdded(ticket, note), *changed, by=who)
    return Noted(note, ticket.uid, customers.get(db, ticket.customer_id).uid)


def remove(db: Connection, ticket_id: int, versions: frozenset[int] | None, who: Principal) -> None:
    """Delete a ticket with its notes and history. Raises TicketNotFound or PreconditionFailed."""
    ticket = get(db, ticket_id, lock=True)
    check_version(versions, ticket.version)
    store.remove(db, ticket)
    record(db, TicketDeleted(ticket), by=who)


def notes(
    db: Connection, ticket_id: int, after: int | None, limit: int
) -> tuple[Ticket, Page[NoteOut]]:
    """Read a ticket and a page of its notes. Raises TicketNotFound."""
    return get(db, ticket_id), store.notes_page(db, ticket_id, after, limit)


def history(
    db: Connection, ticket_id: int, after: int | None, limit: int
) -> tuple[Ticket, Page[HistoryEntry]]:
    """Read a ticket and a page of its history. Raises TicketNotFound."""
    return get(db, ticket_id), store.history_page(db, ticket_id, after, limit)


def _shown(found: Page[Ticket], policy: Policy) -> Page[TicketView]:
    return Page(rows=present(found.rows, policy, clock.now()), next_key=found.next_key)


def _keep_history(
    db: Connection, before: Ticket, changes: dict[str, Any], now: datetime, who: Principal
) -> None:
    """Append an entry for each field that changes."""
    by = {"ticket_id": before.id, "at": now, "actor": who.name, "request_id": current_request_id()}
    rows = [
        {**by, "field": name, "old": _text(getattr(before, name)), "new": _text(value)}
        for name, value in changes.items()
    ]
    store.add_history(db, rows)


def _text(value: Any) -> str | None:
    return ", ".join(value) if isinstance(value, list) else value


def _write(
    db: Connection,
    before: Ticket,
    changes: dict[str, Any],
    policy: Policy,
    now: datetime,
    *happened: Entry,
) -> list[Event]:
    """Change the row, its instants and its next deadline. Returns the events of the change."""
    values = {name: value for name, value in changes.items() if name != "tags"}
    values["updated_at"] = now
    if (status := changes.get("status")) is not None:
        happened = (Entry(now, "status", status), *happened)
        values["resolved_at"] = now if status == "resolved" else before.resolved_at
        values["closed_at"] = now if status == "closed" else None
        if status not in lifecycle.DONE:
            values["resolved_at"] = None
    priority = changes.get("priority", before.priority)
    values["due_at"] = next_due(before, priority, policy, now, happened)
    after = store.change(db, before, values)
    events: list[Event] = []
    if status is not None:
        events.append(TicketStatusChanged(after, before))
    if others := set(changes) - {"status"}:
        events.append(TicketUpdated(after, list(others)))
    return events


def _differences(before: Ticket, change: TicketChange) -> dict[str, Any]:
    sent = change.changes()
    if "tags" in sent:
        sent["tags"] = sorted(set(sent["tags"]))
    return {name: value for name, value in sent.items() if value != getattr(before, name)}


def _check_move(before: Ticket, status: lifecycle.Status, now: datetime) -> None:
    allowed = lifecycle.allowed(before.status, before.resolved_at, now)
    if status in allowed:
        return
    can = f"It can become {', '.join(allowed)}." if allowed else "Open a follow-up instead."
    raise InvalidTransition(
        f"A {before.status} ticket can't become {status}. {can}", allowed_statuses=allowed
    )


def _check_follow_up(earlier: Ticket | None, customer_id: int) -> None:
    if earlier is None or earlier.status != "closed" or earlier.customer_id != customer_id:
        raise NoFollowUp("A follow-up needs a closed ticket of the same customer.")


def _is_reopened_by_customer(ticket: Ticket, now: datetime) -> bool:
    if ticket.status == "resolved":
        return lifecycle.may_reopen(ticket.resolved_at, now)
    return ticket.status == "pending"
