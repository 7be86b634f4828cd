"""Describes the feed and the webhooks in AsyncAPI 3.0, by the same schemas as everywhere else."""

from typing import Any, Union

from pydantic import BaseModel, create_model
from pydantic.json_schema import models_json_schema

from crm_api.events import Event
from crm_api.feed.schemas import FeedPage
from crm_api.published import webhooks
from crm_api.published.schemas import EVENTS, Json, model_of
from service_kit import VERSION

DESCRIPTION = """What happens to customers and tickets, as CloudEvents 1.0: in a feed, which is
read, and in webhooks, which are sent. `GET /openapi.json` describes the rest of the CRM, and
`GET /api/events/schemas` has the same schemas in JSON Schema 2020-12.

Pass over types and fields that you do not know: there may be more some day."""
_ANY_EVENT: Any = Union[tuple(map(model_of, EVENTS))]  # noqa: UP007 (made at run time)
# A page of the feed whose events are of the types that there are.
_PAGE: Any = create_model(
    "EventPage", __base__=FeedPage, __doc__=FeedPage.__doc__, events=(list[_ANY_EVENT], ...)
)
_QUERY = {
    "after": ("string", "The `next_cursor` of the page before; absent: the start."),
    "types": ("string", "Only these types, comma-separated."),
    "limit": ("integer", "At most as many events, 1 to 500."),
    "wait": ("number", "Seconds to wait for news where there is none, 0 to 25."),
}


def asyncapi() -> Json:
    messages = {event.type: _webhook(event) for event in EVENTS}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Events of the CRM", "version": VERSION, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": {"feed": _feed_channel(), "webhooks": _webhook_channel()},
        "operations": {"sendFeedPage": _send_page(), "sendWebhook": _send_webhook()},
        "components": {
            "messages": {"feedPage": _page(), **messages},
            "schemas": _schemas(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schemas() -> Json:
    models: list[type[BaseModel]] = [_PAGE, *map(webhooks.body_of, EVENTS)]
    _, found = models_json_schema(
        [(model, "serialization") for model in models],
        ref_template="#/components/schemas/{model}",
    )
    return {**found["$defs"], "WebhookHeaders": _webhook_headers()}


def _feed_channel() -> Json:
    return {
        "address": "/api/events",
        "title": "The change feed",
        "description": "All events in commit order, in pages; a reader goes on from a page's "
        "`next_cursor`. Positions have no gaps.",
        "messages": {"feedPage": {"$ref": "#/components/messages/feedPage"}},
    }


def _send_page() -> Json:
    query = {
        name: {"type": kind, "description": meaning} for name, (kind, meaning) in _QUERY.items()
    }
    return {
        "action": "send",
        "channel": {"$ref": "#/channels/feed"},
        "summary": "Answer a reader with the events after its cursor",
        "security": [{"$ref": "#/components/securitySchemes/bearer"}],
        "bindings": {
            "http": {
                "method": "GET",
                "query": {"type": "object", "properties": query},
                "bindingVersion": "0.3.0",
            }
        },
    }


def _page() -> Json:
    return {
        "title": "A page of the feed",
        "contentType": "application/json",
        "payload": {"$ref": "#/components/schemas/EventPage"},
        "bindings": {"http": {"statusCode": 200, "bindingVersion": "0.3.0"}},
    }


def _webhook_channel() -> Json:
    return {
        # Each route of the integration has a URL of its own.
        "address": None,
        "title": "Webhooks",
        "description": "One request for each event that a `webhook` route of the integration asks "
        "for, at least once. Any 2xx says that it has arrived; 410 pauses the route.",
        "messages": {
            event.type: {"$ref": f"#/components/messages/{event.type}"} for event in EVENTS
        },
    }


def _send_webhook() -> Json:
    return {
        "action": "send",
        "channel": {"$ref": "#/channels/webhooks"},
        "summary": "Tell a receiver of one event",
        "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
    }


def _webhook(event: type[Event]) -> Json:
    headers = {
        "webhook-id": webhooks.EXAMPLE_ID,
        "webhook-timestamp": webhooks.EXAMPLE_TIMESTAMP,
        "webhook-signature": webhooks.EXAMPLE_SIGNATURE,
    }
    return {
        "name": event.type,
        "title": event.type,
        "summary": event.__doc__,
        "contentType": webhooks.MEDIA_TYPE,
        "headers": {"$ref": "#/components/schemas/WebhookHeaders"},
        "payload": {"$ref": f"#/components/schemas/{webhooks.body_of(event).__name__}"},
        "examples": [
            {"name": event.type, "headers": headers, "payload": webhooks.example_of_body(event)}
        ],
    }


def _webhook_headers() -> Json:
    described = {
        "webhook-id": webhooks.ID,
        "webhook-timestamp": webhooks.TIMESTAMP,
        "webhook-signature": webhooks.SIGNATURE,
    }
    return {
        "type": "object",
        "description": "The headers of Standard Webhooks.",
        "properties": {
            name: {"type": "string", "description": meaning} for name, meaning in described.items()
        },
        "required": list(described),
    }
