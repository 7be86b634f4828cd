"""The published schemas of events describe what the feed really sends."""

import json
from typing import Any, get_type_hints

import httpx
import jsonschema_rs
import pytest
from opentelemetry.trace import SpanKind

from crm_api.commands import main
from crm_api.event_types import EVENT_TYPES
from crm_api.events import Event
from crm_api.published.schemas import EVENTS, events_schema, schema_of
from service_kit.process import tracing
from tests.crm_api.conftest import read_feed

SCHEMAS = "/api/events/schemas"
ADA = {"name": "Ada Lovelace", "email": "ada@example.com", "metadata": {"plan": "basic"}}
TICKET = {"customer_id": 1, "subject": "Where is it?", "description": "", "tags": ["delivery"]}
# One call or more for each type of event.
CALLS: list[tuple[str, str, Any]] = [
    ("POST", "/api/customers", ADA),
    ("POST", "/api/customers/batch", [{"name": "Grace Hopper", "email": "grace@example.com"}]),
    ("PUT", "/api/customers/by-ref/shop-1", {"name": "Jane", "email": "jane@example.com"}),
    ("PATCH", "/api/customers/1", {"phone": "+44 20 7946 0000", "external_ref": "till-7"}),
    ("POST", "/api/tickets", TICKET),
    ("PATCH", "/api/tickets/1", {"status": "pending", "assignee": "maria", "tags": []}),
    ("POST", "/api/tickets/1/notes", {"body": "Thank you!", "author_kind": "customer"}),
    ("POST", "/api/tickets/1/notes", {"body": "The third one.", "visibility": "internal"}),
    ("DELETE", "/api/tickets/1", None),
    ("DELETE", "/api/customers/1", None),
]


async def test_every_event_that_is_sent_matches_its_schema(crm: httpx.AsyncClient) -> None:
    """Wherever it is read, and also when its customer was erased since."""
    *calls, erase = CALLS
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    with tracing.span("test", SpanKind.SERVER, [traceparent]):
        await send(crm, calls)
    before = await check_events(crm)
    await send(crm, [erase])
    after = await check_events(crm)

    assert {event["type"] for event in after} == EVENT_TYPES
    assert {event.get("traceparent") for event in after} == {traceparent, None}
    about = [[one["data"] for one in found if "name" in one["data"]] for found in (before, after)]
    names = [{data["name"] for data in found if data["id"] == 1} for found in about]
    assert names == [{"Ada Lovelace"}, {""}], "both as it was and blanked"


async def send(crm: httpx.AsyncClient, calls: list[tuple[str, str, Any]]) -> None:
    for method, path, body in calls:
        answer = await crm.request(method, path, json=body)
        assert answer.is_success, answer.text


async def check_events(crm: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Compare all events, on their page and one by one, with what is published of their types."""
    of_all = validator((await crm.get(SCHEMAS)).json())
    events: list[dict[str, Any]] = (await read_feed(crm, limit=100))["events"]
    for event in events:
        of_type = validator((await crm.get(f"{SCHEMAS}/{event['type']}")).json())
        looked_up = (await crm.get(f"/api/events/{event['sequence']}")).json()
        for check in (of_all, of_type):
            assert [error.message for error in check.iter_errors(event)] == []
            assert [error.message for error in check.iter_errors(looked_up)] == []
    return events


async def test_whom_no_welcome_is_wanted_for_matches_too(shared_crm: httpx.AsyncClient) -> None:
    events = (await read_feed(shared_crm, types="customer.created"))["events"]

    check = validator(events_schema())
    assert events[0]["data"]["welcome"] is False
    assert all(check.is_valid(event) for event in events)


@pytest.mark.parametrize(
    "change",
    [{"type": "customer.updated"}, {"data": {}}, {"sequence": "1"}],
    ids=lambda change: str(*change),
)
async def test_what_is_never_sent_matches_none(
    shared_crm: httpx.AsyncClient, change: dict[str, Any]
) -> None:
    event = (await read_feed(shared_crm, types="customer.created", limit=1))["events"][0]

    assert not validator(events_schema()).is_valid({**event, **change})


def test_each_type_of_event_has_one_class() -> None:
    assert sorted(event.type for event in EVENTS) == sorted(EVENT_TYPES)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
def test_each_type_has_a_name_a_description_and_an_example(event: type[Event]) -> None:
    schema = schema_of(event)
    [example] = schema["examples"]

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:crmsys:events:{event.type}"
    assert schema["description"].endswith("."), "give the event's class a docstring"
    assert example["type"] == event.type
    assert [error.message for error in validator(schema).iter_errors(example)] == []
    assert example["data"].keys() == get_type_hints(get_type_hints(event.data)["return"]).keys()


def test_the_whole_schema_holds_that_of_each_type() -> None:
    whole = events_schema()

    jsonschema_rs.meta.validate(whole)
    assert whole["$defs"] == {event.type: schema_of(event) for event in EVENTS}
    assert len(whole["oneOf"]) == len(EVENTS)


async def test_a_reader_asks_only_for_schemas_that_it_does_not_have(
    shared_crm: httpx.AsyncClient,
) -> None:
    tags = {}
    for path in (SCHEMAS, f"{SCHEMAS}/ticket.created", f"{SCHEMAS}/ticket.deleted"):
        first = await shared_crm.get(path)
        tags[path] = first.headers["etag"]
        again = await shared_crm.get(path, headers={"If-None-Match": tags[path]})
        assert (again.status_code, again.content) == (304, b"")
        other = await shared_crm.get(path, headers={"If-None-Match": '"1"'})
        assert other.content == first.content
    assert len(set(tags.values())) == 3


async def test_an_unknown_type_has_no_schema(shared_crm: httpx.AsyncClient) -> None:
    answer = await shared_crm.get(f"{SCHEMAS}/customer.married")

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:problem:event-type-not-found"
    assert all(name in answer.json()["detail"] for name in EVENT_TYPES)


def test_a_command_prints_the_schemas(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events-schema"]) == 0

    assert json.loads(capsys.readouterr().out) == events_schema()


def validator(schema: dict[str, Any]) -> Any:
    return jsonschema_rs.validator_for(strict(schema), validate_formats=True)


def strict(schema: Any) -> Any:
    """Forbid what the schema does not name: a caller may ignore it, we may not send it."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(part) for name, part in schema.items()}
    return {**closed, "additionalProperties": False} if "properties" in schema else closed
