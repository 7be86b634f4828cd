"""The public names of what can happen: most are in the feed and in the audit."""

from typing import Literal, get_args

Change = Literal[
    "customer.created",
    "customer.updated",
    "customer.erased",
    "ticket.created",
    "ticket.updated",
    "ticket.note_added",
    "ticket.deleted",
]
# To the audit a new status is an update of its ticket.
EventType = Literal[Change, "ticket.status_changed"]
# Of these only the audit tells. An import has an entry for each customer besides.
Action = Literal[
    Change,
    "token.issued",
    "token.revoked",
    "session.opened",
    "session.ended",
    "customers.exported",
    "customers.imported",
    "customer.read",
    "customers.listed",
    "ticket.read",
    "tickets.listed",
    "import.read",
]
EVENT_TYPES: frozenset[str] = frozenset(get_args(EventType))
