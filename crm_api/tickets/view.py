"""Tickets as callers see them: with their tags, their deadlines and what they may become."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic_core import from_json

from crm_api.tickets import lifecycle, sla
from crm_api.tickets.lifecycle import AuthorKind, Priority
from crm_api.tickets.models import Ticket
from crm_api.tickets.sla import Clock, Entry, Policy


class TicketView(NamedTuple):
    """A ticket, and what `TicketOut` shows of it: also what follows from the time of day."""

    ticket: Ticket
    shown: dict[str, Any]


def present(rows: Sequence[Ticket], policy: Policy, now: datetime) -> list[TicketView]:
    """Show tickets with their deadlines and what they may become."""
    return [TicketView(row, _shown(row, policy, now)) for row in rows]


def _shown(row: Ticket, policy: Policy, now: datetime) -> dict[str, Any]:
    found = sla.clocks(row.created_at, row.priority, _entries(row), policy, now)
    return {
        "id": row.id,
        "uid": row.uid,
        "customer_id": row.customer_id,
        "subject": row.subject,
        "description": row.description,
        "status": row.status,
        "allowed_statuses": lifecycle.allowed(row.status, row.resolved_at, now),
        "priority": row.priority,
        "assignee": row.assignee,
        "tags": row.tags,
        "follow_up_of": row.follow_up_of,
        "sla": {
            "first_response": _clock(found.first_response),
            "next_response": _clock(found.next_response) if found.next_response else None,
            "resolution": _clock(found.resolution),
        },
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "resolved_at": row.resolved_at,
        "closed_at": row.closed_at,
    }


def next_due(
    ticket: Ticket, priority: Priority, policy: Policy, now: datetime, happened: Sequence[Entry]
) -> datetime | None:
    """Compute when the first running clock is due of a ticket to which this has happened now."""
    entries = [*_entries(ticket), *happened]
    return sla.first_due(sla.clocks(ticket.created_at, priority, entries, policy, now))


def _entries(ticket: Ticket) -> list[Entry]:
    return [
        Entry(datetime.fromisoformat(at), "status", status)
        for at, status in from_json(ticket.status_changes)
    ] + [
        note_entry(datetime.fromisoformat(at), author)
        for at, author in from_json(ticket.public_notes)
    ]


def note_entry(at: datetime, author: AuthorKind) -> Entry:
    return Entry(at, "agent_note" if author == "agent" else "customer_note")


def _clock(clock: Clock) -> dict[str, Any]:
    return {
        "state": clock.state,
        "due_at": clock.due_at,
        "used_seconds": clock.used.total_seconds(),
        "target_seconds": clock.target.total_seconds(),
    }
