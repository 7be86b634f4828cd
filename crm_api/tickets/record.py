"""What is written down about a change of a ticket: its history, and the feed."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from crm_api.feed import service as feed
from crm_api.feed.service import Change
from crm_api.tickets import store
from crm_api.tickets.models import Ticket
from service_kit.process.logs import current_request_id
from service_kit.web.auth import Principal


def changes_of(
    db: Connection,
    before: Ticket,
    tags: list[str],
    changes: dict[str, Any],
    now: datetime,
    who: Principal,
) -> None:
    """Append a history entry for each field that changes."""
    base = {"ticket_id": before.id, "at": now, "actor": who.name}
    rows = [
        {
            **base,
            "request_id": current_request_id(),
            "field": name,
            "old": _text(tags if name == "tags" else getattr(before, name)),
            "new": _text(value),
        }
        for name, value in changes.items()
    ]
    store.add_history(db, rows)


def _text(value: Any) -> str | None:
    return ", ".join(value) if isinstance(value, list) else value


def facts(ticket: Ticket, **more: Any) -> dict[str, Any]:
    """What the feed tells of a ticket: nothing that anyone has written, which may be personal."""
    names = ("id", "uid", "customer_id", "status", "priority", "assignee", "follow_up_of")
    return {**{name: getattr(ticket, name) for name in names}, **more}


def tell(db: Connection, ticket: Ticket, kind: str, who: Principal, told: dict[str, Any]) -> None:
    data = {"id": ticket.id, "uid": ticket.uid, "customer_id": ticket.customer_id, **told}
    feed.record(db, [Change(kind, ticket.uid, data)], who)
