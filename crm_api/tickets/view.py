"""Tickets as callers see them: with their tags, their deadlines and what they may become."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from crm_api.tickets import lifecycle, sla, store
from crm_api.tickets.schemas import ClockOut, SlaOut, TicketOut
from crm_api.tickets.sla import Clock, Entry, Policy, Sla
from crm_api.tickets.store import TicketRow
from service_kit import clock

_COLUMNS = set(TicketOut.model_fields) - {"allowed_statuses", "tags", "sla"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A ticket as callers see it, and its version."""

    out: TicketOut
    version: int


def shown(db: Connection, row: TicketRow, policy: Policy) -> Shown:
    [out] = present(db, [row], policy, clock.now())
    return Shown(out, row.version)


def present(
    db: Connection, rows: Sequence[TicketRow], policy: Policy, now: datetime
) -> list[TicketOut]:
    """Show tickets with their tags, their deadlines and what they may become."""
    ids = [row.id for row in rows]
    if not ids:
        return []
    tags, entries = store.tags_of(db, ids), _entries(db, ids)
    return [
        TicketOut.model_construct(
            **{name: getattr(row, name) for name in _COLUMNS},
            tags=tags.get(row.id, []),
            allowed_statuses=lifecycle.allowed(row.status, row.resolved_at, now),
            sla=_sla_out(sla.clocks(row.created_at, row.priority, entries[row.id], policy, now)),
        )
        for row in rows
    ]


def next_due(
    db: Connection, ticket: TicketRow, priority: lifecycle.Priority, policy: Policy, now: datetime
) -> datetime | None:
    """Compute when the first of a ticket's clocks is due that still run."""
    entries = _entries(db, [ticket.id])[ticket.id]
    return sla.first_due(sla.clocks(ticket.created_at, priority, entries, policy, now))


def _entries(db: Connection, ids: Sequence[int]) -> dict[int, list[Entry]]:
    found: dict[int, list[Entry]] = defaultdict(list)
    for row in store.status_changes(db, ids):
        found[row.ticket_id].append(Entry(row.at, "status", row.new))
    for row in store.public_notes(db, ids):
        is_agent = row.author_kind == "agent"
        what: sla.Happening = "agent_note" if is_agent else "customer_note"
        found[row.ticket_id].append(Entry(row.created_at, what))
    return found


def _sla_out(found: Sla) -> SlaOut:
    following = found.next_response
    return SlaOut.model_construct(
        first_response=_clock_out(found.first_response),
        next_response=_clock_out(following) if following else None,
        resolution=_clock_out(found.resolution),
    )


def _clock_out(found: Clock) -> ClockOut:
    return ClockOut.model_construct(
        state=found.state,
        due_at=found.due_at,
        used_seconds=found.used.total_seconds(),
        target_seconds=found.target.total_seconds(),
    )
