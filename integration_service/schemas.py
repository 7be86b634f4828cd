"""What the integration answers about itself."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service_kit.web.fields import Line

State = Literal["pending", "retrying", "delivered", "skipped", "dead", "undone"]
STATES: tuple[State, ...] = get_args(State)

CONFIRM_COMMAND = "python -m integration_service reconcile --repair --confirm"

_UID = "019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c"


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


class ReconcileRun(BaseModel):
    """One comparison of the CRM's customers with Inventory's package requests."""

    id: int = Field(examples=[1])
    trigger: Literal["api", "cli", "timer"]
    repair: bool = Field(description="Whether it enqueues what is missing.")
    state: Literal["running", "finished", "failed"]
    started_at: datetime
    finished_at: datetime | None
    customers: int = Field(description="How many the CRM has.")
    packages: int = Field(description="How many welcome packages Inventory has.")
    missing: int = Field(description="Customers who have none, though they are owed one.")
    extra: int = Field(description="Customers with a package whom the CRM does not have.")
    double: int = Field(description="Customers who have more than one.")
    erased: int = Field(
        description="Erased customers of whom Inventory has a package to send or the name, or "
        "whose erasure it does not remember."
    )
    waiting: int = Field(description="Customers whose package, or whose erasure, is on its way.")
    skipped: int = Field(description="Customers without one who are to have none.")
    not_owed: int = Field(description="Customers without one from before START_FROM=now.")
    repaired: int = Field(description="How many were enqueued, packages and erasures.")
    held_back: int = Field(
        description="How many are not enqueued by itself, being more than 20 and more than 5 % of "
        "the customers: somebody has to look whether it is the right Inventory, and to confirm."
    )
    findings: dict[Literal["missing", "extra", "double", "erased", "waiting"], list[str]] = Field(
        description="The customers' uids, the first 100 of each; the command line has all."
    )
    error: str | None = Field(description="Why it failed.")

    @property
    def is_exact(self) -> bool:
        """Whether every customer has exactly one, and nobody else has any, the erased least."""
        wrong = self.missing + self.extra + self.double + self.erased + self.waiting
        return self.state == "finished" and not wrong


class RepairHeldBack(BaseModel):
    """Packages that the last comparison would have enqueued, were they not so many."""

    customers: int = Field(description="How many have no package.", examples=[300])
    found_at: datetime
    command: str = Field(
        description="What enqueues them, once somebody has looked why they are missing.",
        examples=[CONFIRM_COMMAND],
    )


class Reconciliation(BaseModel):
    """The comparison that runs, and the last one that has ended."""

    running: ReconcileRun | None
    last: ReconcileRun | None


class ReconcileOrder(BaseModel):
    """What a comparison is to do."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"repair": False}]})

    repair: bool = Field(
        False, strict=True, description="Enqueue what is missing. It does not retry what is dead."
    )
    confirm: bool = Field(
        False,
        strict=True,
        description="With `repair`: also when more than 20 and more than 5 % of the customers "
        "would get a package, which otherwise waits for this.",
    )

    @model_validator(mode="after")
    def _confirm_what_is_repaired(self) -> Self:
        if self.confirm and not self.repair:
            raise ValueError("confirm goes with repair")
        return self


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


class DeliveryOut(BaseModel):
    """What is owed to one customer."""

    model_config = ConfigDict(from_attributes=True)

    customer_uid: str = Field(examples=[_UID])
    customer_name: str | None = Field(examples=["Jane Doe"])
    state: State = Field(
        description="undone: the customer was erased after it was sent; Inventory has cancelled "
        "what was not shipped, and forgotten the name.",
        examples=["delivered"],
    )
    skip_reason: Literal["unwanted", "erased", "dismissed"] | None = Field(
        description="Why it is skipped: whoever added the customer wanted no package, the customer "
        "was erased before it was sent, or somebody dismissed it.",
        examples=[None],
    )
    attempt_count: int = Field(
        description="Tries since it was enqueued; a retry by hand begins anew.", examples=[1]
    )
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
    dismissed_at: datetime | None = Field(description="When somebody settled it without a package.")
    dismissed_by: str | None
    dismissed_reason: str | None
    attempts: list[Attempt]


class PollAccepted(BaseModel):
    """The feed is looked at now."""

    status: Literal["accepted"] = Field("accepted", examples=["accepted"])


class Paused(BaseModel):
    """Whether deliveries are sent."""

    paused: bool
    paused_at: datetime | None


class RetryOrder(BaseModel):
    """Which deliveries are to be sent again."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"state": "dead", "error_class": "refused", "dry_run": True}]
        },
    )

    state: Literal["dead", "retrying"] = Field(
        "dead", description="dead, or retrying: these no longer wait."
    )
    error_class: Literal["transient", "refused"] | None = None
    dry_run: bool = Field(False, strict=True, description="Change nothing; say whom it would be.")
    limit: int = Field(10_000, ge=1, le=100_000, strict=True, description="How many at most.")


class Dismissal(BaseModel):
    """Why a dead delivery needs no package any more."""

    model_config = ConfigDict(
        extra="forbid",
        str_strip_whitespace=True,
        json_schema_extra={"examples": [{"reason": "She has got one by hand."}]},
    )

    reason: Annotated[Line, Field(min_length=1, max_length=500)]


class RetryResult(BaseModel):
    """What is sent again; in a dry run, what would be."""

    dry_run: bool
    matched: int = Field(description="How many there are of that kind.")
    retried: int = Field(description="How many of them are sent again, up to the limit.")
    customer_uids: list[str] = Field(description="The first 100 of these.")
