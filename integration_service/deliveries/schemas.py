"""The API's models of deliveries."""

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from service_kit.web.fields import Line

State = Literal["pending", "retrying", "delivered", "skipped", "dead", "undone"]
STATES: tuple[State, ...] = get_args(State)
# How many of the deliveries that are retried one answer names.
SHOWN = 100

RouteName = Literal["welcome-package"]

_UID = "019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c"


class DeliveryOut(BaseModel):
    """The delivery owed to one customer."""

    model_config = ConfigDict(from_attributes=True)

    route: str = Field(
        max_length=40, description="What it is owed by.", examples=["welcome-package"]
    )
    customer_uid: str = Field(max_length=64, examples=[_UID])
    customer_name: str | None = Field(max_length=200, examples=["Jane Doe"])
    state: State = Field(
        description="undone: the customer was erased after it was sent; Inventory has cancelled "
        "whatever was not shipped, and removed the name.",
        examples=["delivered"],
    )
    skip_reason: Literal["unwanted", "erased", "dismissed"] | None = Field(
        description="Why it is skipped: no package was wanted when the customer was added, the "
        "customer was erased before it was sent, or an operator dismissed it.",
        examples=[None],
    )
    attempt_count: int = Field(
        description="Attempts since it was enqueued; a manual retry starts at 0 again.",
        examples=[1],
    )
    next_attempt_at: datetime | None = Field(description="While pending or retrying.")
    request_id: str | None = Field(max_length=36, description="The package request in Inventory.")
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
    """The delivery owed to one customer, with every attempt."""

    problem: dict[str, Any] | None = Field(description="Why Inventory refused it.")
    raw: str | None = Field(description="The event as received, if it could not be read.")
    dismissed_at: datetime | None = Field(description="When an operator dismissed it.")
    dismissed_by: str | None
    dismissed_reason: str | None = Field(max_length=500)
    attempts: list[Attempt]


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
    customer_uids: list[str] = Field(max_length=SHOWN, description=f"The first {SHOWN} of these.")
