"""Tickets as callers see them: with their tags, their deadlines and what they may become."""

from collections import namedtuple
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

from pydantic_core import from_json

from crm_api.tickets import lifecycle, sla
from crm_api.tickets.schemas import TicketOut
from crm_api.tickets.sla import Clock, Entry, Policy
from crm_api.tickets.store import TicketRow

_COMPUTED = ("allowed_statuses", "tags", "sla")
_COLUMNS = tuple(name for name in TicketOut.model_fields if name not in _COMPUTED)
_columns_of = attrgetter(*_COLUMNS)
_Ticket = namedtuple("_Ticket", _COLUMNS + _COMPUTED)  # type: ignore[misc] # noqa: PYI024
_new_ticket: Any = _Ticket


@dataclass(frozen=True, slots=True)
class Shown:
    """A ticket as callers see it, and its version."""

    out: TicketRow
    version: int


def present(rows: Sequence[TicketRow], policy: Policy, now: datetime) -> list[TicketRow]:
    """Show whole tickets with their deadlines and what they may become, in TicketOut's fields."""
    return [_shown(row, policy, now) for row in rows]


def _shown(row: TicketRow, policy: Policy, now: datetime) -> TicketRow:
    found = sla.clocks(row.created_at, row.priority, _entries(row), policy, now)
    following = found.next_response
    out: TicketRow = _new_ticket(
        *_columns_of(row),
        lifecycle.allowed(row.status, row.resolved_at, now),
        [tag for [tag] in from_json(row.tags)],
        {
            "first_response": _clock(found.first_response),
            "next_response": _clock(following) if following else None,
            "resolution": _clock(found.resolution),
        },
    )
    return out


def next_due(
    ticket: TicketRow, priority: lifecycle.Priority, policy: Policy, now: datetime
) -> datetime | None:
    """Compute when the first of a whole ticket's clocks is due that still run."""
    return sla.first_due(sla.clocks(ticket.created_at, priority, _entries(ticket), policy, now))


def _entries(ticket: TicketRow) -> Iterator[Entry]:
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
