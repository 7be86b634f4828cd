"""Webhooks in OpenAPI and the AsyncAPI description say of events what their schemas say."""

import json
from typing import Any

import httpx
import jsonschema_rs
import pytest

from crm_api.commands import main
from crm_api.event_types import EVENT_TYPES
from crm_api.published.asyncapi import asyncapi
from crm_api.published.schemas import EVENTS, schema_of
from service_kit.web.openapi import resolved
from tests.described import description, faults

CLOUD_EVENT = "application/cloudevents+json"
OPENAPI, ASYNCAPI = description("crm_api"), asyncapi()
HEADERS = ["webhook-id", "webhook-timestamp", "webhook-signature"]


def plain(document: dict[str, Any], schema: Any) -> Any:
    """Write out what a schema refers to, without what one description adds to another's."""
    if isinstance(schema, list):
        return [plain(document, one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    schema = resolved(document, schema)
    of_openapi = ("int64", 35)  # how large an integer and how long an instant gets
    return {
        name: plain(document, said)
        for name, said in schema.items()
        if name not in {"$schema", "$id", "$defs", "examples"} and said not in of_openapi
    }


def published(event_type: str) -> tuple[Any, Any]:
    """Return what is published of a type of event, and the schema of its `sequence`."""
    [schema] = [schema_of(event) for event in EVENTS if event.type == event_type]
    return apart(plain(schema, schema))


def apart(schema: Any) -> tuple[Any, Any]:
    """Set apart what only a webhook writes in another way."""
    del schema["title"]
    return schema, schema["properties"].pop("sequence")


def assert_is_of_webhook(document: Any, schema: Any, event_type: str, example: Any) -> None:
    said, sequence = apart(plain(document, schema))
    of_feed, number = published(event_type)

    assert said == of_feed
    assert (number["type"], sequence["type"]) == ("integer", "string")
    whole = {**schema, "components": document["components"]}
    assert [one.message for one in jsonschema_rs.validator_for(whole).iter_errors(example)] == []
    assert faults(document, schema, example) == []


def test_there_is_a_webhook_for_each_type() -> None:
    assert OPENAPI["webhooks"].keys() == EVENT_TYPES


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
def test_a_webhook_sends_what_the_feed_shows(event_type: str) -> None:
    [(method, said)] = OPENAPI["webhooks"][event_type].items()
    [(media_type, body)] = said["requestBody"]["content"].items()
    example = body["examples"][event_type]["value"]

    assert (method, media_type) == ("post", CLOUD_EVENT)
    assert_is_of_webhook(OPENAPI, body["schema"], event_type, example)
    assert [one["name"] for one in said["parameters"]] == HEADERS
    assert all(one["required"] and one["description"] for one in said["parameters"])
    assert set(said["responses"]) == {"204", "2XX", "410", "default"}


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
def test_a_message_holds_what_the_feed_shows(event_type: str) -> None:
    message = ASYNCAPI["components"]["messages"][event_type]
    headers = resolved(ASYNCAPI, message["headers"])
    [example] = message["examples"]

    assert message["contentType"] == CLOUD_EVENT
    assert_is_of_webhook(ASYNCAPI, message["payload"], event_type, example["payload"])
    assert headers["required"] == list(example["headers"]) == HEADERS
    assert event_type in ASYNCAPI["channels"]["webhooks"]["messages"]


async def test_a_page_of_the_feed_is_as_asyncapi_says(shared_crm: httpx.AsyncClient) -> None:
    payload = ASYNCAPI["components"]["messages"]["feedPage"]["payload"]
    check = jsonschema_rs.validator_for({**payload, "components": ASYNCAPI["components"]})
    page = (await shared_crm.get("/api/events")).json()
    asked = ASYNCAPI["operations"]["sendFeedPage"]["bindings"]["http"]["query"]["properties"]
    takes = OPENAPI["paths"]["/api/events"]["get"]["parameters"]

    assert page["events"]
    assert [error.message for error in check.iter_errors(page)] == []
    page["events"][0]["type"] = "customer.married"
    assert not check.is_valid(page)
    assert list(asked) == [one["name"] for one in takes if one["in"] == "query"]


async def test_anybody_may_read_the_description(shared_crm: httpx.AsyncClient) -> None:
    answer = await shared_crm.get("/asyncapi.json", headers={"Authorization": ""})

    assert answer.status_code == 200
    assert answer.json() == ASYNCAPI


def test_a_command_prints_the_description(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["asyncapi"]) == 0

    assert json.loads(capsys.readouterr().out) == ASYNCAPI
