"""What the integration sends to webhooks is what the CRM publishes of them, for every event."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jsonschema_rs
import pytest

from crm_api.app import create_app
from crm_api.event_types import EVENT_TYPES
from crm_api.published.schemas import EVENTS, example_of
from crm_api.published.webhooks import body_of, example_of_body
from crm_api.settings import Settings
from integration_service.targets.webhook import _body
from tests.conftest import NewDatabase, running
from tests.crm_api.conftest import read_feed
from tests.crm_api.test_event_schemas import CALLS

pytestmark = pytest.mark.engine("sqlite")

MODELS = {event.type: body_of(event) for event in EVENTS}


@pytest.fixture
async def events(new_database: NewDatabase) -> AsyncIterator[list[dict[str, Any]]]:
    """Give the feed of a CRM in which every type of event has happened, then an erasure."""
    settings = Settings(database_url=new_database("crm_api"), seed_demo_data=False)
    async with running(create_app(settings), token="admin123") as crm:
        *calls, erase = CALLS
        before = await after_calls(crm, calls)
        yield before + await after_calls(crm, [erase])


async def after_calls(
    crm: httpx.AsyncClient, calls: list[tuple[str, str, Any]]
) -> list[dict[str, Any]]:
    for method, path, body in calls:
        (await crm.request(method, path, json=body)).raise_for_status()
    found: list[dict[str, Any]] = (await read_feed(crm, limit=100))["events"]
    return found


def faults(sent: bytes) -> list[str]:
    """Compare a body with the model of its type. Returns each difference."""
    body = json.loads(sent)
    model = MODELS[body["type"]]
    schema = model.model_json_schema(mode="serialization")
    wrong = [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(body)]
    if wrong:
        return wrong
    again = model.model_validate_json(sent).model_dump(mode="json", exclude_unset=True)
    return [name for name in body if name not in again or again[name] != body[name]]


async def test_each_body_is_as_the_model_of_its_type_says(events: list[dict[str, Any]]) -> None:
    assert {event["type"] for event in events} == EVENT_TYPES
    assert len(EVENT_TYPES) == 8
    for event in events:
        assert faults(_body(event)) == [], event


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
def test_the_published_example_is_what_would_be_sent(event: Any) -> None:
    assert json.loads(_body(example_of(event))) == example_of_body(event)


@pytest.mark.parametrize(
    "change", [{"sequence": 41}, {"sequence": "41"}, {"data": {}}, {"subject": None}], ids=str
)
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
def test_another_body_would_be_noticed(event: Any, change: dict[str, Any]) -> None:
    assert faults(json.dumps(example_of_body(event) | change).encode())
