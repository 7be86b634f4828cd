"""The JSON Schemas of the feed's events, made from the types by which they are written."""

from typing import Annotated, Any, Literal, Union, get_type_hints

from pydantic import Field, TypeAdapter, create_model

from crm_api.customers import events as of_customers
from crm_api.events import Event
from crm_api.feed import schemas
from crm_api.tickets import events as of_tickets

# Each event of these modules, in the order of its definition.
EVENTS: tuple[type[Event], ...] = tuple(
    found
    for module in (of_customers, of_tickets)
    for found in vars(module).values()
    if isinstance(found, type) and issubclass(found, Event) and hasattr(found, "type")
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
