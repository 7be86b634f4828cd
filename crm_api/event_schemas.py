"""The JSON Schemas of the feed's events, made from the types by which they are written."""

from typing import Annotated, Any, Literal, Union, get_type_hints

from pydantic import Field, TypeAdapter, create_model

from crm_api.customers.events import CustomerCreated, CustomerErased, CustomerUpdated
from crm_api.events import Event
from crm_api.feed import schemas
from crm_api.tickets.events import (
    TicketCreated,
    TicketDeleted,
    TicketNoteAdded,
    TicketStatusChanged,
    TicketUpdated,
)

EVENTS: tuple[type[Event], ...] = (
    CustomerCreated,
    CustomerUpdated,
    CustomerErased,
    TicketCreated,
    TicketUpdated,
    TicketStatusChanged,
    TicketNoteAdded,
    TicketDeleted,
)


def events_schema() -> dict[str, Any]:
    """Describe every event as the feed sends it: one of these, told apart by its `type`."""
    models: Any = Union[tuple(map(_model, EVENTS))]  # noqa: UP007 (made at run time)
    event: TypeAdapter[Any] = TypeAdapter(Annotated[models, Field(discriminator="type")])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Events of the CRM's change feed",
        **event.json_schema(mode="serialization"),
    }


def _model(event: type[Event]) -> Any:
    data = get_type_hints(event.data)["return"]
    # Its own type alone, and the data that it really has.
    fields: Any = {"type": (Literal[event.type], ...), "data": (data, ...)}
    return create_model(event.__name__, __base__=schemas.Event, **fields)
