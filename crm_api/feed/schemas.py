"""What the feed answers: CloudEvents 1.0, in pages; and who reads it."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic.json_schema import SkipJsonSchema

from crm_api.event_types import EventType
from service_kit.web.fields import Line
from service_kit.web.paging import LARGEST_PAGE

LONGEST_CURSOR = 200


def _without_default(schema: JsonDict) -> None:
    schema.pop("default")


class Event(BaseModel):
    """One change, as of CloudEvents 1.0 with the sequence extension."""

    specversion: Literal["1.0"]
    id: str = Field(max_length=36, examples=["019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c"])
    source: str = Field(examples=["/crm"])
    type: EventType = Field(examples=["customer.created"])
    subject: str = Field(max_length=36, description="The uid of what changed.")
    time: datetime
    sequence: int = Field(description="The event's position in the feed.", examples=[41])
    datacontenttype: Literal["application/json"]
    # Left out where there is none, and never null.
    traceparent: str | SkipJsonSchema[None] = Field(
        None,
        max_length=55,
        exclude_if=lambda value: value is None,
        json_schema_extra=_without_default,
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
    next_cursor: str = Field(
        max_length=LONGEST_CURSOR, description="Send it as `after` to continue."
    )
    has_more: bool = Field(description="Whether there is more to read now.")


class FeedHead(BaseModel):
    """Where the feed ends."""

    position: int = Field(description="The newest position there is.", examples=[57])
    cursor: str = Field(
        max_length=LONGEST_CURSOR, description="Stands behind that position, as `next_cursor` does."
    )


class FeedReaderPut(BaseModel):
    """How far a reader of the feed is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"position": 0}]})

    position: int = Field(
        ge=0,
        lt=2**63,
        strict=True,
        description="Up to here it needs no event any more: the last page's `through_position`, or "
        "less where it looks earlier events up again.",
    )
    cursor: Annotated[Line, Field(max_length=LONGEST_CURSOR)] | None = Field(
        None,
        description="The `next_cursor` of the last page that it has read, by which the feed knows "
        "its own positions. Leave it out with position 0, before the first page.",
    )


class FeedReaderOut(BaseModel):
    """A reader of the feed, for which `prune-feed` keeps the events that it still needs."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(examples=["data-warehouse"])
    position: int = Field(
        description="Up to here it needs no event any more; later ones are kept for it.",
        examples=[0],
    )
    announced_at: datetime = Field(description="When it last said so.")
    expires_at: datetime = Field(
        description="Seven days later: nothing is kept for it from then on unless it says so again."
    )
