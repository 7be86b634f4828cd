"""What callers send and get about tickets."""

from datetime import datetime
from typing import Annotated, Any, get_args

from fastapi import Body as RequestBody
from fastapi.openapi.models import Example
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from crm_api.customers.addresses import LONGEST as LONGEST_EMAIL
from crm_api.tickets.lifecycle import AuthorKind, Priority, Status, Visibility
from crm_api.tickets.sla import ClockState
from service_kit.web.fields import Code, Line, Text
from service_kit.web.hot import fields_of

MOST_TAGS = 20
Subject = Annotated[Line, Field(min_length=1, max_length=200, examples=["The parcel is damaged"])]
Description = Annotated[Text, Field(max_length=20_000, examples=["The box came open."])]
Assignee = Annotated[Line, Field(min_length=1, max_length=200, examples=["maria"])]
Tag = Annotated[Code, StringConstraints(min_length=1, max_length=50, to_lower=True)]
Tags = Annotated[list[Tag], Field(max_length=MOST_TAGS, fail_fast=True, examples=[["delivery"]])]
Body = Annotated[Text, Field(min_length=1, max_length=20_000, examples=["We send you another."])]


class TicketNew(BaseModel):
    """What a caller sends to open a ticket."""

    model_config = ConfigDict(extra="forbid")

    customer_id: int = Field(ge=1, lt=2**63, strict=True, description="The customer's integer id.")
    subject: Subject
    description: Description
    priority: Priority = "normal"
    assignee: Assignee | None = None
    tags: Tags = []
    follow_up_of: int | None = Field(
        None, ge=1, lt=2**63, strict=True, description="The closed ticket that this one follows up."
    )


class TicketChange(BaseModel):
    """What a caller sends to change a ticket: the fields to change."""

    model_config = ConfigDict(extra="forbid")

    subject: Subject | None = None
    description: Description | None = None
    status: Status | None = None
    priority: Priority | None = None
    assignee: Assignee | None = None
    tags: Tags | None = None

    @field_validator("subject", "description", "status", "priority", "tags")
    @classmethod
    def _never_empty(cls, value: object) -> object:
        if value is None:
            raise ValueError("can be changed, not emptied")
        return value

    def changes(self) -> dict[str, Any]:
        return self.model_dump(include=self.model_fields_set)


class ClockOut(BaseModel):
    """One deadline."""

    state: ClockState = Field(examples=["running"])
    due_at: datetime | None = Field(description="Empty while it is paused.")
    used_seconds: float = Field(examples=[120.0])
    target_seconds: float = Field(examples=[14400.0])


class SlaOut(BaseModel):
    """The ticket's current deadlines."""

    first_response: ClockOut
    next_response: ClockOut | None = Field(description="Present once the customer has written.")
    resolution: ClockOut


class TicketOut(BaseModel):
    """A ticket."""

    model_config = ConfigDict(from_attributes=True)

    id: int = Field(examples=[3])
    uid: str = Field(max_length=36, examples=["019a5d3e-0000-7000-8000-000000000001"])
    customer_id: int = Field(examples=[1])
    subject: str = Field(max_length=200, examples=["The parcel is damaged"])
    description: str = Field(max_length=20_000, examples=["The box came open."])
    status: Status = Field(examples=["open"])
    allowed_statuses: list[Status] = Field(
        max_length=len(get_args(Status)), description="The statuses it may change to now."
    )
    priority: Priority = Field(examples=["high"])
    assignee: str | None = Field(max_length=200, examples=["maria"])
    tags: list[Tag] = Field(max_length=MOST_TAGS, examples=[["delivery"]])
    follow_up_of: int | None = Field(examples=[None])
    sla: SlaOut
    created_at: datetime
    updated_at: datetime
    resolved_at: datetime | None
    closed_at: datetime | None


class TicketsCustomer(BaseModel):
    """The customer of a ticket, in short."""

    id: int = Field(examples=[1])
    uid: str = Field(max_length=36, examples=["019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c"])
    name: str = Field(max_length=200, examples=["Jane Doe"])
    email: str = Field(max_length=LONGEST_EMAIL, examples=["jane.doe@example.com"])
    company: str | None = Field(max_length=200, examples=["Example Ltd"])


class ListedTicket(TicketOut):
    """A ticket of a list."""

    customer: TicketsCustomer | None = Field(
        None, description="Present with `include=customer`; blank where the customer was erased."
    )


customer_in_short = fields_of(TicketsCustomer)


class NoteNew(BaseModel):
    """What a caller sends to add a note."""

    model_config = ConfigDict(extra="forbid")

    body: Body
    visibility: Visibility = "public"
    author_kind: AuthorKind = "agent"

    @field_validator("author_kind")
    @classmethod
    def _customers_write_in_public(cls, value: str, info: Any) -> str:
        if value == "customer" and info.data.get("visibility") == "internal":
            raise ValueError("a customer's note is public")
        return value


class NoteOut(BaseModel):
    """A note on a ticket."""

    id: int
    ticket_id: int
    body: str = Field(max_length=20_000, examples=["We send you another."])
    visibility: Visibility
    author_kind: AuthorKind
    author: str = Field(max_length=100, description="The caller's name.", examples=["agent"])
    created_at: datetime


class HistoryEntry(BaseModel):
    """One change of one field."""

    model_config = ConfigDict(from_attributes=True)

    at: datetime
    actor: str = Field(max_length=100, examples=["agent"])
    field: str = Field(max_length=20, examples=["status"])
    old: str | None = Field(examples=["open"])
    new: str | None = Field(examples=["in_progress"])
    request_id: str = Field(max_length=128)


# Bodies as people send them, under names, for the API's description.
_PARCEL = {
    "customer_id": 1,
    "subject": "The parcel is damaged",
    "description": "The box came open.",
}
_OPENED = {
    "shortest": Example(summary="With what it takes at least", value=_PARCEL),
    "urgent": Example(
        summary="For somebody, at once",
        value={**_PARCEL, "priority": "urgent", "assignee": "maria", "tags": ["delivery"]},
    ),
}
_CHANGED = {
    "start": Example(
        summary="Start to work on it", value={"status": "in_progress", "assignee": "maria"}
    ),
    "wait": Example(summary="Wait for the customer", value={"status": "pending"}),
    "raise": Example(summary="Raise its priority", value={"priority": "urgent"}),
    "hand-back": Example(summary="Hand it back", value={"status": "open", "assignee": None}),
    "resolve": Example(summary="Say that it is solved", value={"status": "resolved"}),
}
_SAID = {
    "answer": Example(summary="Answer the customer", value={"body": "We send you another."}),
    "internal": Example(
        summary="Tell a colleague", value={"body": "The third one.", "visibility": "internal"}
    ),
    "customer": Example(
        summary="What the customer said", value={"body": "Thank you!", "author_kind": "customer"}
    ),
}

Opening = Annotated[TicketNew, RequestBody(openapi_examples=_OPENED)]
Change = Annotated[TicketChange, RequestBody(openapi_examples=_CHANGED)]
Note = Annotated[NoteNew, RequestBody(openapi_examples=_SAID)]
