"""The API's models of deliveries."""

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from service_kit.web.fields import Line

State = Literal["pending", "retrying", "delivered", "skipped", "dead", "undone"]
STATES: tuple[State, ...] = get_args(State)
# A day.
MINUTES = 1440
# How many of the deliveries that are retried one answer names.
SHOWN = 100

HeldBecause = Literal["paused", "circuit", "order"]

RouteName = Annotated[str, Field(max_length=40, pattern=r"^[a-z0-9-]+$")]

_UID = "019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c"


class DeliveryOut(BaseModel):
    """What is owed by a route: a customer's package, or the report of one event."""

    model_config = ConfigDict(from_attributes=True)

    route: str = Field(
        max_length=40, description="What it is owed by.", examples=["welcome-package"]
    )
    subject: str = Field(
        max_length=64,
        description="What it is for: the customer's uid, or the id of the event.",
        examples=[_UID],
    )
    customer_uid: str | None = Field(
        max_length=64,
        description="Whom the package is for; null where the route reports events.",
        examples=[_UID],
    )
    customer_name: str | None = Field(max_length=200, examples=["Jane Doe"])
    event_id: str | None = Field(
        max_length=64, description="The event that a webhook reports.", examples=[None]
    )
    event_type: str | None = Field(max_length=40, examples=[None])
    event_subject: str | None = Field(
        max_length=64, description="What that event is about.", examples=[None]
    )
    sequence: int = Field(description="The event's position in the feed.", examples=[41])
    state: State = Field(
        description="undone: the customer was erased after it was sent; Inventory has cancelled "
        "whatever was not shipped, and removed the name.",
        examples=["delivered"],
    )
    skip_reason: Literal["unwanted", "erased", "dismissed", "route-removed"] | None = Field(
        description="Why it is skipped: no package was wanted when the customer was added, the "
        "customer was erased before it was sent, an operator dismissed it, or its route is no "
        "longer in the file of routes.",
        examples=[None],
    )
    held_because: HeldBecause | None = Field(
        description="Why one that is pending or retrying is not sent: sending is paused, its "
        "target does not answer, or an earlier event of the same subject is unfinished or dead.",
        examples=[None],
    )
    attempt_count: int = Field(
        description="Attempts since it was enqueued; a manual retry starts at 0 again.",
        examples=[1],
    )
    next_attempt_at: datetime | None = Field(description="While pending or retrying.")
    request_id: str | None = Field(
        max_length=36, description="The package request in Inventory, or the `webhook-id`."
    )
    error_class: str | None = Field(
        description="transient, refused or unreadable.", examples=[None]
    )
    error: str | None = Field(examples=[None])
    created_at: datetime
    updated_at: datetime
    delivered_at: datetime | None


class Attempt(BaseModel):
    """One attempt to deliver."""

    at: datetime
    status: int | None = Field(description="The HTTP status, where there was one.")
    duration_ms: float
    error_class: str | None
    error: str | None


class DeliveryDetail(DeliveryOut):
    """What is owed, with its attempts."""

    problem: dict[str, Any] | None = Field(description="Why it was refused.")
    raw: str | None = Field(description="The event as received, if it could not be read.")
    traceparent: str | None = Field(
        max_length=55,
        description="The span in which its event came about, where that was traced (W3C Trace "
        "Context).",
        examples=["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
    )
    dismissed_at: datetime | None = Field(description="When an operator dismissed it.")
    dismissed_by: str | None
    dismissed_reason: str | None = Field(max_length=500)
    attempts: list[Attempt] = Field(
        description="Those that are not older than `RETENTION_ATTEMPTS_DAYS`."
    )


class DeliveriesPerMinute(BaseModel):
    """The deliveries of the last 24 hours, by the minute; the last is the minute that runs."""

    since: datetime = Field(description="The start of the first minute.")
    delivered: list[int] = Field(
        min_length=MINUTES,
        max_length=MINUTES,
        description="How many were delivered in each minute, the oldest first.",
    )
    failed_attempts: list[int] = Field(
        min_length=MINUTES,
        max_length=MINUTES,
        description="How many attempts failed in each minute; one that is retried may yet succeed.",
    )
    slowest_ms: float | None = Field(
        description="How long the slowest attempt took that delivered; null where none did.",
        examples=[41.2],
    )
    slowest_at: datetime | None = Field(description="The start of the minute in which it ended.")


class RetryOrder(BaseModel):
    """Which deliveries to retry."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"state": "dead", "error_class": "refused", "dry_run": True}]
        },
    )

    state: Literal["dead", "retrying"] = Field(
        "dead", description="dead, or retrying: these no longer wait for their next attempt."
    )
    error_class: Literal["transient", "refused"] | None = None
    route: RouteName | None = Field(None, description="Only those of this route.")
    dry_run: bool = Field(
        False, strict=True, description="Change nothing; list the deliveries that would be retried."
    )
    limit: int = Field(10_000, ge=1, le=100_000, strict=True, description="How many at most.")


class Dismissal(BaseModel):
    """Why a dead delivery no longer needs a package."""

    model_config = ConfigDict(
        extra="forbid",
        str_strip_whitespace=True,
        json_schema_extra={"examples": [{"reason": "She has got one by hand."}]},
    )

    reason: Annotated[Line, Field(min_length=1, max_length=500)]


class RetryResult(BaseModel):
    """The deliveries that are retried; in a dry run, those that would be."""

    dry_run: bool
    matched: int = Field(description="Deliveries that match.")
    retried: int = Field(description="Deliveries that are retried, up to the limit.")
    customer_uids: list[str] = Field(
        [], max_length=SHOWN, description=f"The first {SHOWN} of these: of packages."
    )
    event_ids: list[str] = Field([], max_length=SHOWN, description="And of webhooks.")


class ReplayOrder(BaseModel):
    """Which deliveries of a route are sent again: those of events from one position to another."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"route": "web-shop", "from": 1, "to": 500, "dry_run": True}]
        },
    )

    route: RouteName
    from_position: int = Field(alias="from", ge=0, lt=2**63, strict=True)
    to_position: int = Field(alias="to", ge=0, lt=2**63, strict=True)
    dry_run: bool = Field(
        False, strict=True, description="Change nothing; count what would be sent again."
    )


class ReplayResult(BaseModel):
    """How many deliveries are sent again; in a dry run, how many would be."""

    dry_run: bool
    replayed: int
