"""Tickets as callers see them: with their tags, their deadlines and what they may become."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from pydantic_core import from_json

from crm_api.tickets import lifecycle, sla
from crm_api.tickets.lifecycle import AuthorKind, Priority, Status
from crm_api.tickets.models import Ticket
from crm_api.tickets.schemas import TicketOut
from crm_api.tickets.sla import Clock, Entry, Policy


class TicketView(NamedTuple):
    """A ticket, and what follows from its history and the time of day."""

    ticket: Ticket
    allowed_statuses: list[Status]
    sla: dict[str, Any]


_shown = attrgetter(
    *(name if name in TicketView._fields else f"ticket.{name}" for name in TicketOut.model_fields)
)


def as_shown(view: TicketView) -> dict[str, Any]:
    """Return what `TicketOut` describes."""
    return dict(zip(TicketOut.model_fields, _shown(view), strict=True))


def present(rows: Sequence[Ticket], policy: Policy, now: datetime) -> list[TicketView]:
    """Show tickets with their deadlines and what they may become."""
    return [_view(row, policy, now) for row in rows]


def _view(row: Ticket, policy: Policy, now: datetime) -> TicketView:
    found = sla.clocks(row.created_at, row.priority, _entries(row), policy, now)
    following = found.next_response
    return TicketView(
        row,
        lifecycle.allowed(row.status, row.resolved_at, now),
        {
            "first_response": _clock(found.first_response),
            "next_response": _clock(following) if following else None,
            "resolution": _clock(found.resolution),
        },
    )


def next_due(
    ticket: Ticket, priority: Priority, policy: Policy, now: datetime, happened: Sequence[Entry]
) -> datetime | None:
    """Compute when the first running clock is due of a ticket to which this has happened now."""
    entries = [*_entries(ticket), *happened]
    return sla.first_due(sla.clocks(ticket.created_at, priority, entries, policy, now))


def _entries(ticket: Ticket) -> Iterator[Entry]:
    for at, status in from_json(ticket.status_changes):
        yield Entry(datetime.fromisoformat(at), "status", status)
    for at, author in from_json(ticket.public_notes):
        yield note_entry(datetime.fromisoformat(at), author)


def note_entry(at: datetime, author: AuthorKind) -> Entry:
    return Entry(at, "agent_note" if author == "agent" else "customer_note")


def _clock(clock: Clock) -> dict[str, Any]:
    return {
        "state": clock.state,
        "due_at": clock.due_at,
        "used_seconds": clock.used.total_seconds(),
        "target_seconds": clock.target.total_seconds(),
    }
