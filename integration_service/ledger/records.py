"""What the loops tell the ledger.

Without slots, since whole pages of them are written by their names; not frozen, since that makes
them four times as dear to make.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass
class Arrival:
    """A customer as the feed told of it; or, with `error`, an event that nobody can understand."""

    customer_uid: str
    customer_name: str | None
    sequence: int
    raw: str | None = None
    error: str | None = None
    traceparent: str | None = None
    # Why no package is sent: unwanted by whoever added the customer, or the customer was erased.
    skip_reason: str | None = None

    @property
    def state(self) -> str:
        if self.error:
            return "dead"
        return "skipped" if self.skip_reason else "pending"


@dataclass
class ErasedCustomer:
    """A customer who was erased, by both ids of the CRM where both are known."""

    customer_uid: str
    customer_number: int | None


@dataclass
class Settlement:
    """What is to be written down about one delivery after one attempt."""

    delivery_id: int
    to_state: str
    at: datetime
    due_at: datetime | None
    status: int | None
    duration_ms: float
    # With which request it was delivered.
    made_id: str | None = None
    class_of_error: str | None = None
    text_of_error: str | None = None
    document: dict[str, Any] | None = None
    failing_since: datetime | None = None
    tried_before: float = 0.0

    @property
    def outcome(self) -> str:
        """What the attempt counts as: undone, its class of error, or success."""
        return "undone" if self.to_state == "undone" else self.class_of_error or "success"


def enqueued(now: datetime) -> dict[str, Any]:
    """Say what makes a delivery as good as new; its attempts stay in their own table."""
    return {
        "state": "pending",
        "attempt_count": 0,
        "next_attempt_at": now,
        "claimed_epoch": None,
        "first_failed_at": None,
        "tried_seconds_before": 0.0,
        "request_id": None,
        "error_class": None,
        "error": None,
        "problem": None,
        "delivered_at": None,
        "skip_reason": None,
        "updated_at": now,
        "enqueued_at": now,
        "dismissed_at": None,
        "dismissed_by": None,
        "dismissed_reason": None,
    }
