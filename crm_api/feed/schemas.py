"""What the feed answers: CloudEvents 1.0, in pages."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from crm_api.event_types import EventType
from service_kit.web.paging import LARGEST_PAGE


class Event(BaseModel):
    """One change, as of CloudEvents 1.0 with the sequence extension."""

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(max_length=36, examples=["019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c"])
    source: str = Field("/crm", examples=["/crm"])
    type: EventType = Field(examples=["customer.created"])
    subject: str = Field(max_length=36, description="The uid of what changed.")
    time: datetime
    sequence: int = Field(description="The event's position in the feed.", examples=[41])
    datacontenttype: Literal["application/json"] = "application/json"
    traceparent: str | None = Field(
        None,
        max_length=55,
        exclude_if=lambda value: value is None,
        description="The span of the change, as of W3C Trace Context, where it was traced.",
    )
    data: dict[str, Any] = Field(
        description="How the subject looked after the change. For a new customer it holds "
        "`welcome: false` where no welcome package is wanted."
    )


class FeedPage(BaseModel):
    """Events in order, and the positions that this page covers."""

    events: Annotated[list[Event], Field(max_length=LARGEST_PAGE)]
    from_position: int = Field(description="The first position covered.", examples=[41])
    through_position: int = Field(description="The last position covered.", examples=[57])
    head_position: int = Field(description="The newest position there is.", examples=[57])
    next_cursor: str = Field(max_length=200, description="Send it as `after` to continue.")
    has_more: bool = Field(description="Whether there is more to read now.")
