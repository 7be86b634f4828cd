"""Tickets as callers see them: with their tags, their deadlines and what they may become."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from pydantic_core import from_json

from crm_api.tickets import lifecycle, sla
from crm_api.tickets.lifecycle import Priority, Status
from crm_api.tickets.models import tickets
from crm_api.tickets.sla import Clock, Entry, Policy
from crm_api.tickets.store import WholeTicket


class TicketView(NamedTuple):
    """What `TicketOut` shows of a ticket, and its version; the columns first."""

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
    allowed_statuses: list[Status]
    tags: list[str]
    sla: dict[str, Any]


_columns = attrgetter(*(name for name in TicketView._fields if name in tickets.c))


def present(rows: Sequence[WholeTicket], policy: Policy, now: datetime) -> list[TicketView]:
    """Show whole tickets with their deadlines and what they may become."""
    return [_view(row, policy, now) for row in rows]


def _view(row: WholeTicket, policy: Policy, now: datetime) -> TicketView:
    found = sla.clocks(row.created_at, row.priority, _entries(row), policy, now)
    allowed = lifecycle.allowed(row.status, row.resolved_at, now)
    tags = [tag for [tag] in from_json(row.tags)]
    following = found.next_response
    shown = {
        "first_response": _clock(found.first_response),
        "next_response": _clock(following) if following else None,
        "resolution": _clock(found.resolution),
    }
    return TicketView._make([*_columns(row), allowed, tags, shown])


def next_due(
    ticket: WholeTicket, priority: Priority, policy: Policy, now: datetime
) -> datetime | None:
    """Compute when the first running clock of a ticket is due."""
    return sla.first_due(sla.clocks(ticket.created_at, priority, _entries(ticket), policy, now))


def _entries(ticket: WholeTicket) -> Iterator[Entry]:
    for at, status in from_json(ticket.status_changes):
        yield Entry(datetime.fromisoformat(at), "status", status)
    for at, author in from_json(ticket.public_notes):
        what: sla.Happening = "agent_note" if author == "agent" else "customer_note"
        yield Entry(datetime.fromisoformat(at), what)


def _clock(clock: Clock) -> dict[str, Any]:
    return {
        "state": clock.state,
        "due_at": clock.due_at,
        "used_seconds": clock.used.total_seconds(),
        "target_seconds": clock.target.total_seconds(),
    }
