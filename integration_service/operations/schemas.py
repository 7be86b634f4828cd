"""The API's models of the integration as a whole."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from integration_service.deliveries.schemas import State
from integration_service.reconcile.schemas import CONFIRM_COMMAND, ReconcileRun
from integration_service.routes.file import MOST_ROUTES


class RecoveryStatus(BaseModel):
    """Reading all customers again, after which the feed is read from a new cursor."""

    reason: Literal["diverged", "expired"]
    began_at: datetime
    customers_read: int
    customers_new: int = Field(description="Customers that the ledger did not know.")


class FeedStatus(BaseModel):
    """How far the CRM's feed has been read."""

    state: Literal["running", "recovering", "diverged", "expired", "gap"] = Field(
        description="recovering: the cursor is no longer valid, since the CRM's database was "
        "restored or replaced, or events were pruned; all customers are read again. "
        "diverged, expired: recovery failed again; it is retried in one minute. gap: events that "
        "a webhook's route has not read are gone; nothing is read or sent until someone accepts "
        "that."
    )
    recovery: RecoveryStatus | None = Field(description="Only while recovering.")
    recoveries: int = Field(description="Number of recoveries.", examples=[0])
    start_from: str | None = Field(description="START_FROM of the very first start.")
    position: int | None = Field(description="The last position read.", examples=[57])
    head_position: int | None = Field(description="The newest position known.", examples=[57])
    lag_events: int | None = Field(description="Positions known but not read.", examples=[0])
    lag_seconds: float | None = Field(
        description="Seconds since the feed was last read to its end.", examples=[0.0]
    )


class CircuitStatus(BaseModel):
    """Whether a remote service is called, and if not, why."""

    model_config = ConfigDict(from_attributes=True)

    state: Literal["closed", "open"]
    opened_at: datetime | None
    next_probe_at: datetime | None
    error_class: str | None
    error: str | None


class PollerStatus(BaseModel):
    """The process that polls."""

    is_here: bool = Field(description="Whether it is the process that answers this request.")
    holder: str | None
    lease_until: datetime | None


class RepairHeldBack(BaseModel):
    """Packages that the last comparison did not enqueue, being too many."""

    customers: int = Field(description="Customers without a package.", examples=[300])
    found_at: datetime
    command: str = Field(
        description="What enqueues them, once somebody has checked why they are missing.",
        examples=[CONFIRM_COMMAND],
    )


class RouteSummary(BaseModel):
    """A route at a glance."""

    name: str = Field(max_length=40, examples=["welcome-package"])
    target: Literal["inventory", "webhook"]
    feed_state: Literal["running", "recovering", "diverged", "expired", "gap"]
    lag_events: int | None = Field(description="Positions known but not read.", examples=[0])
    paused_at: datetime | None = Field(
        description="Since when sending is paused: this route's, or all of it."
    )
    deliveries: dict[State, int] = Field(description="Number of deliveries in each state.")


class Status(BaseModel):
    """The integration at a glance."""

    feed: FeedStatus
    deliveries: dict[State, int] = Field(description="Number of deliveries in each state.")
    oldest_unfinished_seconds: float | None = Field(
        description="The age of the oldest delivery that is pending or retrying."
    )
    circuits: dict[str, CircuitStatus] = Field(description="Of `crm` and of each target.")
    routes: list[RouteSummary] = Field(max_length=MOST_ROUTES)
    paused_at: datetime | None = Field(description="Since when sending is paused, if it is.")
    last_poll_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    poller: PollerStatus
    reconcile: ReconcileRun | None = Field(description="The last comparison that ended.")
    repair_held_back: RepairHeldBack | None = Field(
        description="Repairs that wait for confirmation, if any."
    )


class RouteOut(BaseModel):
    """What events of some types lead to, and what is owed by it."""

    name: str = Field(max_length=40, examples=["welcome-package"])
    on: list[str] = Field(description="The events' types.", examples=[["customer.created"]])
    when: dict[str, Any] = Field(description="Only events with these values.", examples=[{}])
    unless: dict[str, Any] = Field(
        description="Events with these values lead to nothing.",
        examples=[{"data.welcome": False}],
    )
    target: Literal["inventory", "webhook"] = Field(
        description="What brings the effect about.", examples=["inventory"]
    )
    receiver: str | None = Field(
        description="Scheme, host and port of a webhook; its path may be a secret.",
        examples=[None],
    )
    send: dict[str, str] = Field(
        description="What is sent besides the customer.",
        examples=[{"package_type": "welcome_package"}],
    )
    order: Literal["none", "subject"] = Field(
        description="subject: the events of one subject are sent one after another.",
        examples=["none"],
    )
    undo_on: list[str] = Field(
        description="Events that undo the effect.", examples=[["customer.erased"]]
    )
    paused_at: datetime | None = Field(
        description="Since when sending is paused: this route's, or all of it."
    )
    pause_reason: str | None = Field(
        description="What its receiver answered, where that has paused it.", examples=[None]
    )
    feed: FeedStatus
    last_error: str | None = Field(description="The last trouble with the feed, of a webhook.")
    deliveries: dict[State, int] = Field(description="Number of deliveries in each state.")
    circuit: CircuitStatus


class PollAccepted(BaseModel):
    """The feed is being read."""

    status: Literal["accepted"] = Field("accepted", examples=["accepted"])


class Paused(BaseModel):
    """Whether sending is paused."""

    paused: bool
    paused_at: datetime | None
