"""The published schemas of events describe what the feed really sends."""

import json
from typing import Any

import httpx
import jsonschema_rs
import pytest

from crm_api.commands import main
from crm_api.event_schemas import EVENTS, events_schema
from crm_api.event_types import EVENT_TYPES
from tests.crm_api.conftest import read_feed

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
    for method, path, body in CALLS:
        answer = await crm.request(method, path, json=body)
        assert answer.is_success, answer.text

    events = (await read_feed(crm, limit=100))["events"]

    schema = strict(events_schema())
    check = jsonschema_rs.validator_for(schema, validate_formats=True)
    assert {event["type"] for event in events} == EVENT_TYPES
    for event in events:
        assert [error.message for error in check.iter_errors(event)] == []


async def test_whom_no_welcome_is_wanted_for_matches_too(shared_crm: httpx.AsyncClient) -> None:
    events = (await read_feed(shared_crm, types="customer.created"))["events"]

    check = jsonschema_rs.validator_for(strict(events_schema()))
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

    assert not jsonschema_rs.is_valid(strict(events_schema()), {**event, **change})


def test_each_type_of_event_has_one_class() -> None:
    assert sorted(event.type for event in EVENTS) == sorted(EVENT_TYPES)


def test_the_command_prints_the_schemas(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events-schema"]) == 0

    assert json.loads(capsys.readouterr().out) == events_schema()


def strict(schema: Any) -> Any:
    """Forbid what the schema does not name: a caller may ignore it, we may not send it."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(part) for name, part in schema.items()}
    return {**closed, "additionalProperties": False} if "properties" in schema else closed
