"""The tables of what is owed and of what came of it, and their rows."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    false,
    text,
)

from integration_service.ledger.models import metadata
from integration_service.routes.definitions import WELCOME
from integration_service.targets.failures import Refused
from integration_service.targets.target import Destination
from service_kit.database.personal import PERSONAL
from service_kit.database.types import BigInt, UtcDateTime

_UNFINISHED = "next_attempt_at IS NOT NULL"
_RETRYING = "next_attempt_at IS NOT NULL AND attempt_count > 0"
_HOLDS = "event_subject IS NOT NULL AND state IN ('pending', 'retrying', 'dead')"

# One row for each effect that is owed: the inbox. Identified by route, subject and occurrence.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("route", String(40), nullable=False, server_default=WELCOME.name),
    # What the effect is for: the customer's uid, or the id of the event that a webhook reports.
    Column("subject", String(64), nullable=False),
    Column("occurrence", Integer, nullable=False, server_default=text("1")),
    Column("customer_name", String(200)),
    # Of a webhook: the event's type and subject. Its data are read from the feed when it is sent.
    Column("event_type", String(40)),
    Column("event_subject", String(64)),
    Column("sequence", BigInt, nullable=False),
    Column("state", String(10), nullable=False),
    Column("attempt_count", Integer, nullable=False),
    # Empty when nothing more is sent: it is finished, or its customer was erased.
    Column("next_attempt_at", UtcDateTime),
    # The lease epoch of the poller that is sending it; a claim of an older one counts for nothing.
    Column("claimed_epoch", BigInt),
    # While it is so, nothing of it can have reached Inventory.
    Column("never_claimed", Boolean, nullable=False, server_default=false()),
    Column("first_failed_at", UtcDateTime),
    # The circuit's tried_seconds when it first failed. What they have grown by since is how long it
    # was tried: past 72 hours of that it is dead.
    Column("tried_seconds_before", Float, nullable=False),
    Column("request_id", String(36)),
    Column("error_class", String(20)),
    Column("error", Text),
    Column("problem", JSON(none_as_null=True)),
    # The event as it came, where it could not be understood.
    Column("raw", Text),
    # The span in which the customer came about, where it was traced.
    Column("traceparent", String(55)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("delivered_at", UtcDateTime),
    # Why it is skipped: unwanted, erased, dismissed or route-removed.
    Column("skip_reason", String(20)),
    # Since when it is owed, where it was enqueued again by a retry or a repair.
    Column("enqueued_at", UtcDateTime),
    # Who settled it without a package after it was dead, when, and why.
    Column("dismissed_at", UtcDateTime),
    Column("dismissed_by", String(200)),
    Column("dismissed_reason", String(500)),
    # The subject first, since it is what is looked up.
    UniqueConstraint("subject", "route", "occurrence", name="uq_deliveries_identity"),
    Index("ix_deliveries_due", "route", "next_attempt_at", "id", info={"where": _UNFINISHED}),
    # Those that failed before, for whoever looks for them among thousands that are new.
    Index("ix_deliveries_retrying", "route", "next_attempt_at", "id", info={"where": _RETRYING}),
    Index("ix_deliveries_state", "state", "id"),
    # What holds later events of the same subject.
    Index(
        "ix_deliveries_order",
        *("route", "event_subject", "sequence"),
        info={"where": _HOLDS},
    ),
    sqlite_autoincrement=True,
)

# Append-only.
attempts = Table(
    "attempts",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("delivery_id", BigInt, ForeignKey("deliveries.id"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("status", Integer),
    Column("duration_ms", Float, nullable=False),
    Column("error_class", String(20)),
    Column("error", Text),
    Index("ix_attempts_delivery", "delivery_id", "id"),
    sqlite_autoincrement=True,
)

# How many attempts there were in all: success, or the class of error.
attempt_counts = Table(
    "attempt_counts",
    metadata,
    Column("outcome", String(20), primary_key=True),
    Column("number", BigInt, nullable=False),
)

# What came of each minute's attempts, for each route. A minute of the day is counted anew the next
# day, so there are no more rows than a day has minutes, and none is ever deleted.
minute_counts = Table(
    "minute_counts",
    metadata,
    Column("minute_of_day", Integer, primary_key=True, autoincrement=False),
    Column("route", String(40), primary_key=True),
    Column("minute", UtcDateTime, nullable=False),
    Column("delivered", Integer, nullable=False),
    Column("failed_attempts", Integer, nullable=False),
    # The longest attempt of those that delivered; empty where none did.
    Column("slowest_ms", Float),
)

# One row a customer who was erased. Kept for ever: Inventory may be restored and need it again.
erasures = Table(
    "erasures",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("customer_uid", String(64), nullable=False, unique=True),
    # The CRM's other id, under which packages may have been requested by hand.
    Column("customer_number", BigInt),
    Column("created_at", UtcDateTime, nullable=False),
    # Empty until Inventory has applied it.
    Column("done_at", UtcDateTime),
    Index("ix_erasures_due", "id", info={"where": "done_at IS NULL"}),
    sqlite_autoincrement=True,
)
# New addresses of customers. A row goes when Inventory has been told of it.
destinations = Table(
    "destinations",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("customer_uid", String(64), nullable=False, unique=True),
    # Null where the customer has no address any more.
    Column("ship_to", JSON(none_as_null=True), info=PERSONAL),
    # Since when that is the address.
    Column("as_of", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)
# The states in which an event holds later ones of its subject, where their order is kept.
HOLDING = ("pending", "retrying", "dead")
# The one delivery that a customer's welcome package is.
IS_WELCOME = and_(deliveries.c.route == WELCOME.name, deliveries.c.occurrence == 1)
# And not by their states: then SQLite would take the index of these, and sort all that it finds.
UNFINISHED = deliveries.c.next_attempt_at.is_not(None)


class Delivery(NamedTuple):
    """A delivery without what only claiming it needs."""

    id: int
    route: str
    subject: str
    occurrence: int
    customer_name: str | None
    event_type: str | None
    event_subject: str | None
    sequence: int
    state: str
    attempt_count: int
    next_attempt_at: datetime | None
    request_id: str | None
    error_class: str | None
    error: str | None
    problem: dict[str, Any] | None
    raw: str | None
    traceparent: str | None
    created_at: datetime
    updated_at: datetime
    delivered_at: datetime | None
    skip_reason: str | None
    dismissed_at: datetime | None
    dismissed_by: str | None
    dismissed_reason: str | None
    # Worked out when it is read: paused, circuit, order, or nothing.
    held_because: str | None

    @property
    def customer_uid(self) -> str | None:
        """Whom the package is for; None for a webhook's delivery, which is of an event."""
        return self.subject if self.event_type is None else None

    @property
    def event_id(self) -> str | None:
        """Which event a webhook reports; None where the effect is a customer's."""
        return None if self.event_type is None else self.subject


class OwedPlace(NamedTuple):
    """Where in the feed the event stands that a webhook is owed, as far as the ledger knows."""

    id: int
    subject: str
    sequence: int
    state: str
    error_class: str | None

    @property
    def is_lost(self) -> bool:
        """Whether it is dead because its event was not found. A receiver's refusal is retried."""
        return self.state == "dead" and self.error_class == Refused.error_class


class Claimed(NamedTuple):
    """What sending a delivery needs to know of it."""

    id: int
    route: str
    subject: str
    occurrence: int
    customer_name: str | None
    sequence: int
    traceparent: str | None
    attempt_count: int
    first_failed_at: datetime | None
    tried_seconds_before: float


class ErasedCustomer(NamedTuple):
    """A customer who was erased, by both ids of the CRM where both are known."""

    customer_uid: str
    customer_number: int | None

    @property
    def ids(self) -> list[str]:
        """Every id under which packages of this customer may have been requested."""
        number = [] if self.customer_number is None else [str(self.customer_number)]
        return [self.customer_uid, *number]


# Without slots, since whole pages of them are written by their names; not frozen, since that makes
# them four times as dear to make.
@dataclass
class Arrival:
    """A new customer as the feed reported it; or, with `error`, an event that can't be read."""

    subject: str
    customer_name: str | None
    sequence: int
    raw: str | None = None
    error: str | None = None
    traceparent: str | None = None
    # Why no package is sent: unwanted by whoever added the customer, or the customer was erased.
    skip_reason: str | None = None
    # Where it goes, if that is known.
    destination: Destination | None = None

    @property
    def state(self) -> str:
        if self.error:
            return "dead"
        return "skipped" if self.skip_reason else "pending"


@dataclass
class OwedEvent:
    """An event that a webhook's route is to report; or, with `error`, one that can't be read."""

    subject: str
    event_type: str
    event_subject: str | None
    sequence: int
    raw: str | None = None
    error: str | None = None
    traceparent: str | None = None

    @property
    def state(self) -> str:
        return "dead" if self.error else "pending"


@dataclass
class Settlement:
    """What is to be written down about one delivery after one attempt.

    The fields are called as the columns that they go to, and are the parameters of the statements
    in `claims.py`.
    """

    delivery_id: int
    state: str
    # When the attempt ended, its HTTP status and how long it took.
    at: datetime
    status: int | None
    duration_ms: float
    next_attempt_at: datetime | None = None
    request_id: str | None = None
    delivered_at: datetime | None = None
    error_class: str | None = None
    error: str | None = None
    problem: dict[str, Any] | None = None
    first_failed_at: datetime | None = None
    tried_seconds_before: float = 0.0

    @property
    def outcome(self) -> str:
        """What the attempt counts as: undone, its class of error, or success."""
        return "undone" if self.state == "undone" else self.error_class or "success"


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
