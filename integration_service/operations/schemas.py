"""What the API says of the whole."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from integration_service.deliveries.schemas import State
from integration_service.reconcile.schemas import CONFIRM_COMMAND, ReconcileRun


class RecoveryStatus(BaseModel):
    """The walk over all customers, after which the feed goes on from another place."""

    reason: Literal["diverged", "expired"]
    began_at: datetime
    customers_read: int
    customers_new: int = Field(description="Those whom the ledger did not know.")


class FeedStatus(BaseModel):
    """How far the CRM's feed has been read."""

    state: Literal["running", "recovering", "diverged", "expired"] = Field(
        description="recovering: the CRM's database was restored or replaced, or events are "
        "pruned, and all customers are read anew; diverged, expired: so it was again just after "
        "that, and there is a pause."
    )
    recovery: RecoveryStatus | None = Field(description="While it is recovering.")
    recoveries: int = Field(description="How often it has recovered.", examples=[0])
    start_from: str | None = Field(description="Where the very first start began.")
    position: int | None = Field(description="The last position read.", examples=[57])
    head_position: int | None = Field(description="The newest one known.", examples=[57])
    lag_events: int | None = Field(description="How many are known and not read.", examples=[0])
    lag_seconds: float | None = Field(
        description="For how long it has not been read to its end.", examples=[0.0]
    )


class CircuitStatus(BaseModel):
    """Whether a far side is called, and if not, why."""

    state: Literal["closed", "open"]
    opened_at: datetime | None
    next_probe_at: datetime | None
    error_class: str | None
    error: str | None


class PollerStatus(BaseModel):
    """Which process polls."""

    is_here: bool = Field(description="Whether it is the process that answers this.")
    holder: str | None
    lease_until: datetime | None


class RepairHeldBack(BaseModel):
    """Packages that the last comparison would have enqueued, were they not so many."""

    customers: int = Field(description="How many have no package.", examples=[300])
    found_at: datetime
    command: str = Field(
        description="What enqueues them, once somebody has looked why they are missing.",
        examples=[CONFIRM_COMMAND],
    )


class Status(BaseModel):
    """The integration at a glance."""

    feed: FeedStatus
    deliveries: dict[State, int] = Field(description="How many there are in each state.")
    oldest_unfinished_seconds: float | None = Field(
        description="The age of the oldest delivery that is pending or retrying."
    )
    circuits: dict[Literal["crm", "inventory"], CircuitStatus]
    paused_at: datetime | None = Field(description="Since when nothing is sent, if so.")
    last_poll_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    poller: PollerStatus
    reconcile: ReconcileRun | None = Field(description="The last comparison that has ended.")
    repair_held_back: RepairHeldBack | None = Field(
        description="What waits for a person to confirm it, if anything does."
    )


class PollAccepted(BaseModel):
    """The feed is looked at now."""

    status: Literal["accepted"] = Field("accepted", examples=["accepted"])


class Paused(BaseModel):
    """Whether deliveries are sent."""

    paused: bool
    paused_at: datetime | None
