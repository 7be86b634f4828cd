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
    # Whoever added the customer asked for no welcome package.
    is_skipped: bool = False

    @property
    def state(self) -> str:
        if self.error:
            return "dead"
        return "skipped" if self.is_skipped else "pending"


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
        "updated_at": now,
        "enqueued_at": now,
        "dismissed_at": None,
        "dismissed_by": None,
        "dismissed_reason": None,
    }
