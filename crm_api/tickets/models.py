"""Tickets, their tags, notes and history: the tables, and their rows."""

from datetime import datetime
from typing import NamedTuple

from pydantic_core import from_json
from sqlalchemy import Column, ForeignKey, Index, Integer, String, Table, Text

from crm_api.tables import metadata
from crm_api.tickets.lifecycle import Priority, Status
from service_kit.database.types import BigInt, UtcDateTime

tickets = Table(
    "tickets",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("uid", String(36), nullable=False, unique=True),
    Column("customer_id", BigInt, ForeignKey("customers.id"), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("description", Text, nullable=False),
    Column("status", String(20), nullable=False),
    Column("priority", String(10), nullable=False),
    Column("assignee", String(200)),
    # The closed ticket that this one goes on from.
    Column("follow_up_of", BigInt, ForeignKey("tickets.id")),
    Column("version", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("resolved_at", UtcDateTime),
    Column("closed_at", UtcDateTime),
    # When the first of the running clocks ends. A cache for the filter `overdue` and the order
    # `due` alone: what a caller is shown is computed from the history.
    Column("due_at", UtcDateTime),
    Index("ix_tickets_customer", "customer_id", "id"),
    Index("ix_tickets_status", "status", "id"),
    Index("ix_tickets_counts", "status", "priority", "id"),
    Index("ix_tickets_assignee", "assignee", "id"),
    Index("ix_tickets_due", "due_at"),
    # For the order `due`, of all tickets and of one agent's; see lists.py.
    Index("ix_tickets_status_due", "status", "due_at", "id"),
    Index("ix_tickets_assignee_due", "assignee", "status", "due_at", "id"),
    sqlite_autoincrement=True,
)


class Ticket(NamedTuple):
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
    json_tags: str
    status_changes: str
    public_notes: str

    @property
    def tags(self) -> list[str]:
        # Sorted here, since databases differ in how they do it.
        return sorted(tag for [tag] in from_json(self.json_tags))


ticket_tags = Table(
    "ticket_tags",
    metadata,
    Column("ticket_id", BigInt, ForeignKey("tickets.id"), primary_key=True),
    Column("tag", String(50), primary_key=True),
    Index("ix_ticket_tags_tag", "tag", "ticket_id"),
)


notes = Table(
    "notes",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("ticket_id", BigInt, ForeignKey("tickets.id"), nullable=False),
    Column("body", Text, nullable=False),
    Column("visibility", String(10), nullable=False),
    Column("author_kind", String(10), nullable=False),
    Column("author", String(100), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_notes_ticket", "ticket_id", "id"),
    sqlite_autoincrement=True,
)

# Append-only.
ticket_history = Table(
    "ticket_history",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("ticket_id", BigInt, ForeignKey("tickets.id"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("field", String(20), nullable=False),
    Column("old", Text),
    Column("new", Text),
    Column("request_id", String(128), nullable=False),
    Index("ix_ticket_history_ticket", "ticket_id", "id"),
    sqlite_autoincrement=True,
)


class HistoryEntry(NamedTuple):
    """One entry of the history."""

    id: int
    ticket_id: int
    at: datetime
    actor: str
    field: str
    old: str | None
    new: str | None
    request_id: str
