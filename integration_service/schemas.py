"""What the integration answers about itself."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["pending", "retrying", "delivered", "skipped", "dead"]
STATES: tuple[State, ...] = ("pending", "retrying", "delivered", "skipped", "dead")

_UID = "019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c"


class FeedStatus(BaseModel):
    """How far the CRM's feed has been read."""

    state: Literal["running", "diverged", "expired"]
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


class Status(BaseModel):
    """The integration at a glance."""

    feed: FeedStatus
    deliveries: dict[State, int] = Field(description="How many there are in each state.")
    oldest_unfinished_seconds: float | None = Field(
        description="The age of the oldest delivery that is neither delivered nor dead."
    )
    circuits: dict[Literal["crm", "inventory"], CircuitStatus]
    last_poll_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    poller: PollerStatus


class DeliveryOut(BaseModel):
    """What is owed to one customer."""

    model_config = ConfigDict(from_attributes=True)

    customer_uid: str = Field(examples=[_UID])
    customer_name: str | None = Field(examples=["Jane Doe"])
    state: State = Field(examples=["delivered"])
    attempt_count: int = Field(examples=[1])
    next_attempt_at: datetime | None = Field(description="While pending or retrying.")
    request_id: str | None = Field(description="The package request in Inventory.")
    error_class: str | None = Field(
        description="transient, refused or unreadable.", examples=[None]
    )
    error: str | None = Field(examples=[None])
    created_at: datetime
    updated_at: datetime
    delivered_at: datetime | None


class Attempt(BaseModel):
    """One try to deliver."""

    model_config = ConfigDict(from_attributes=True)

    at: datetime
    status: int | None = Field(description="The HTTP status, where there was one.")
    duration_ms: float
    error_class: str | None
    error: str | None


class DeliveryDetail(DeliveryOut):
    """What is owed to one customer, with every attempt."""

    problem: dict[str, Any] | None = Field(description="Why Inventory refused it.")
    raw: str | None = Field(description="The event as it came, where it could not be understood.")
    attempts: list[Attempt]


class PollAccepted(BaseModel):
    """The feed is looked at now."""

    status: Literal["accepted"] = Field("accepted", examples=["accepted"])
