"""Describes in OpenAPI what a webhook route of the integration sends about each event.

Nothing here is called: these are requests that others answer.
"""

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header
from fastapi.openapi.models import Example
from pydantic import BaseModel, Field, create_model

from crm_api.events import Event
from crm_api.published.schemas import EVENTS, Json, example_of, model_of

MEDIA_TYPE = "application/cloudevents+json"
ID = "The same at every attempt and at a replay, another for each route: deduplicate by it."
TIMESTAMP = "When this attempt was signed, in seconds since 1970. Refuse one over five minutes off."
SIGNATURE = (
    "`v1,` and the HMAC-SHA256, in base64, of `<webhook-id>.<webhook-timestamp>.<body>` under the "
    "route's secret; one for each secret it has, separated by spaces. One must match."
)
EXAMPLE_ID = "b7f6f9c8-0f43-5d0c-9a52-4f6d2a1f7c3e"
EXAMPLE_TIMESTAMP = "1767614400"
EXAMPLE_SIGNATURE = "v1,hMnDqPeJ0sZlG1pWn9zR0hO3mXo8s0T6Jm5rj4u3c2A="
_EXPLAINED = """The integration sends this to the URL of each `webhook` route that asks for this
type, as [Standard Webhooks](https://www.standardwebhooks.com) and CloudEvents 1.0 in structured
mode have it. It is sent at least once: check the signature, and ignore an id that you have seen.
The body is the event of the feed, but for `sequence`, which is a text here."""
_RESPONSES: dict[int | str, dict[str, Any]] = {
    "2XX": {"description": "Any 2xx within 15 seconds says that it has arrived."},
    410: {"description": "You want no more of them: the route pauses, and nothing is skipped."},
    "default": {
        "description": "It is sent again, later and later; after 72 hours of trying it waits for "
        "an operator. A `Retry-After` is honoured, a redirect is not followed."
    },
}

# An integer of CloudEvents ends at 2^31, so its sequence is a text.
Sequence = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{19}$",
        description="The event's position in the feed, in 19 digits: texts sort as the events do.",
        examples=["0000000000000000041"],
    ),
]
Id = Annotated[str, Header(max_length=36, description=ID, examples=[EXAMPLE_ID])]
Timestamp = Annotated[
    str, Header(pattern=r"^[0-9]{10,12}$", description=TIMESTAMP, examples=[EXAMPLE_TIMESTAMP])
]
Signature = Annotated[
    str, Header(max_length=1000, description=SIGNATURE, examples=[EXAMPLE_SIGNATURE])
]


@cache
def body_of(event: type[Event]) -> type[BaseModel]:
    """Make the model of what is sent about an event."""
    fields: Any = {"sequence": (Sequence, ...)}
    name, about = f"{event.__name__}Webhook", event.__doc__
    return create_model(name, __base__=model_of(event), __doc__=about, **fields)


def example_of_body(event: type[Event]) -> Json:
    example = example_of(event)
    return example | {"sequence": f"{example['sequence']:019}"}


def _receiver(event: type[Event]) -> Callable[..., Any]:
    """Make the function whose signature describes what is sent."""
    model: Any = body_of(event)
    title = event.__doc__ or event.type
    example = {event.type: Example(summary=title, value=example_of_body(event))}

    async def receive(
        event: Annotated[model, Body(media_type=MEDIA_TYPE, openapi_examples=example)],
        webhook_id: Id,
        webhook_timestamp: Timestamp,
        webhook_signature: Signature,
    ) -> None:
        """Be told."""

    return receive


# For `FastAPI.webhooks`; made once: each app of a process has the same.
router = APIRouter(tags=["events"])
for _event in EVENTS:
    router.add_api_route(
        _event.type,
        _receiver(_event),
        methods=["POST"],
        status_code=204,
        operation_id=f"on_{_event.type.replace('.', '_')}",
        summary=(_event.__doc__ or _event.type).rstrip("."),
        description=_EXPLAINED,
        response_description="It has arrived.",
        responses=_RESPONSES,
    )
