"""The JSON Schemas of the feed's events, made from the types by which they are written."""

from functools import cache
from typing import Any, Literal, get_type_hints

from pydantic import create_model

from crm_api.customers import events as of_customers
from crm_api.events import Event
from crm_api.feed import schemas
from crm_api.tickets import events as of_tickets

Json = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# A name and no address: the same at every CRM, wherever it is reached.
ID = "urn:crmsys:events"

# Each event of these modules, in the order of its definition.
EVENTS: tuple[type[Event], ...] = tuple(
    found
    for module in (of_customers, of_tickets)
    for found in vars(module).values()
    if isinstance(found, type) and issubclass(found, Event) and hasattr(found, "type")
)


@cache
def model_of(event: type[Event]) -> type[schemas.Event]:
    """Make the model of an event as it is sent: its own type alone, and the data it really has."""
    data = get_type_hints(event.data)["return"]
    fields: Any = {"type": (Literal[event.type], ...), "data": (data, ...)}
    return create_model(
        event.__name__, __base__=schemas.Event, __doc__=event.__doc__, __module__=__name__, **fields
    )


def example_of(event: type[Event]) -> Json:
    """Write an event as it is sent, with the example of its data."""
    sent = model_of(event)(
        specversion="1.0",
        id="019b8dfa-2c00-7d3e-8a41-6f0b9c2d7e15",
        source="/crm",
        type=event.type,
        subject=str(event.example["uid"]),
        time="2026-01-05T12:00:00Z",
        sequence=41,
        datacontenttype="application/json",
        data=dict(event.example),
    )
    return sent.model_dump(mode="json")


def schema_of(event: type[Event]) -> Json:
    """Describe one type of event. The schema needs no other document."""
    return {
        "$schema": DIALECT,
        "$id": f"{ID}:{event.type}",
        **model_of(event).model_json_schema(mode="serialization"),
        "examples": [example_of(event)],
    }


def events_schema() -> Json:
    """Describe every event as the feed sends it: one of these, told apart by its `type`."""
    of_types = {event.type: schema_of(event) for event in EVENTS}
    return {
        "$schema": DIALECT,
        "$id": ID,
        "title": "Events of the CRM's change feed",
        "description": "An event is one of these, by its `type`. Pass over types and fields that "
        "you do not know: there may be more some day.",
        "oneOf": [{"$ref": schema["$id"]} for schema in of_types.values()],
        "$defs": of_types,
    }
