"""The routes by which programs read what is published about events."""

import json
from functools import cache
from hashlib import sha256
from http import HTTPStatus
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Path, Response
from pydantic import RootModel

from crm_api.access import CanReadEvents
from crm_api.published.asyncapi import asyncapi
from crm_api.published.schemas import EVENTS, Json, events_schema, schema_of
from service_kit.problems import Problem
from service_kit.web.auth import GuardedRoute, Public
from service_kit.web.etags import NOT_MODIFIED, IfNoneMatch, unless_known
from service_kit.web.openapi import documented
from service_kit.web.shared import SharedResponse

router = APIRouter(prefix="/api/events/schemas", route_class=GuardedRoute, tags=["events"])
# As public as /openapi.json, and like it no part of the API that it describes.
asyncapi_router = APIRouter(
    route_class=GuardedRoute, include_in_schema=False, dependencies=[Public]
)

TypeName = Annotated[
    str,
    Path(
        max_length=50,
        pattern=r"^[a-z0-9._-]+$",
        description="The `type` of the events.",
        examples=["customer.created"],
    ),
]


class EventSchema(RootModel[dict[str, Any]]):
    """A JSON Schema of draft 2020-12."""


class EventTypeNotFound(Problem):
    """No event has this type."""

    status = HTTPStatus.NOT_FOUND
    slug = "event-type-not-found"


class Document(NamedTuple):
    """A document as it is sent, and a number that another text would not have."""

    text: bytes
    version: int


@router.get(
    "",
    summary="Read the schemas of all events",
    response_model=EventSchema,
    responses=NOT_MODIFIED,
)
async def get_event_schemas(_: CanReadEvents, known: IfNoneMatch) -> Response:
    """Read one JSON Schema that every event matches; `$defs` has that of each type.

    It holds for the feed and for `GET /api/events/{sequence}`, and for the bodies of webhooks but
    for their `sequence`, which is a text of 19 digits. Within a major version, later schemas only
    add to it: pass over types and fields that you do not know.
    """
    return _unless_known(known, _all_schemas())


@router.get(
    "/{event_type}",
    summary="Read the schema of a type of event",
    response_model=EventSchema,
    responses=documented(EventTypeNotFound) | NOT_MODIFIED,
)
async def get_event_schema(event_type: TypeName, _: CanReadEvents, known: IfNoneMatch) -> Response:
    """Read the JSON Schema of one type of event, with an example."""
    found = _schemas_of_types().get(event_type)
    if found is None:
        raise EventTypeNotFound(f"There are the types {', '.join(_schemas_of_types())}.")
    return _unless_known(known, found)


@asyncapi_router.get("/asyncapi.json")
async def get_asyncapi() -> Response:
    """Answer the description of the feed and of the webhooks."""
    return SharedResponse(_asyncapi().text, media_type="application/json")


def _unless_known(known: frozenset[int] | None, found: Document) -> Response:
    response = Response(found.text, media_type="application/json")
    return unless_known(known, response, found.version, response)


@cache
def _all_schemas() -> Document:
    return _written(events_schema())


@cache
def _schemas_of_types() -> dict[str, Document]:
    return {event.type: _written(schema_of(event)) for event in EVENTS}


@cache
def _asyncapi() -> Document:
    return _written(asyncapi())


def _written(document: Json) -> Document:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    # As much of the digest as an entity tag has room for.
    return Document(text, int.from_bytes(sha256(text).digest()[:7]))
