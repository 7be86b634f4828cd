"""What the CRM's description promises is so: each example, each refusal, the pages for people."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from crm_api.app import create_app
from crm_api.settings import Settings
from service_kit.web.openapi import resolved
from tests.conftest import running
from tests.described import Sender, assert_kept, description, faults, keeps_its_word
from tools.api_examples import examples_of, operations

DOCUMENT = description("crm_api")


@pytest.fixture
async def demo(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The CRM as it is for somebody who tries it: with its demo data."""
    app = create_app(settings.model_copy(update={"seed_demo_data": True}))
    async with running(app, token="admin123") as client:
        yield keeps_its_word(client)


async def test_every_example_works_and_every_answer_is_as_described(
    demo: httpx.AsyncClient,
) -> None:
    sent = await Sender(demo, DOCUMENT).send_all()

    assert {example.operation.id for example, _ in sent} == {one.id for one in operations(DOCUMENT)}
    for example, answer in sent:
        assert_kept(DOCUMENT, example, answer)


async def test_a_problem_is_as_it_is_described(demo: httpx.AsyncClient) -> None:
    schema = {"$ref": "#/components/schemas/Problem"}
    plain = [
        await demo.get("/api/customers/999"),
        await demo.get("/api/events", params={"after": "x"}),
        await demo.get("/nowhere"),
        await demo.put("/api/customers"),
    ]
    invalid = await demo.post("/api/customers", json={"name": ""})

    assert [answer.status_code for answer in plain] == [404, 400, 404, 405]
    for answer in [*plain, invalid]:
        assert faults(DOCUMENT, schema, answer.json()) == []
    assert invalid.json()["errors"]


async def test_the_examples_of_all_fields_work_together(demo: httpx.AsyncClient) -> None:
    for operation in operations(DOCUMENT):
        body = operation.body()
        if operation.method != "post" or body is None:
            continue
        properties = resolved(DOCUMENT, body["schema"]).get("properties", {})
        fields: dict[str, Any] = {
            name: found[0]
            for name, schema in properties.items()
            if (found := examples_of(DOCUMENT, schema))
        }
        [first, *_] = body["examples"].values()
        if isinstance(first["value"], dict):
            path = operation.path.replace("{ticket_id}", "1")
            answer = await demo.post(path, json=first["value"] | fields)
            assert answer.status_code == 201, f"{operation.name}: {answer.text}"


async def test_the_old_address_of_notes_says_that_it_is_old(demo: httpx.AsyncClient) -> None:
    answer = await demo.post("/api/notes/1", json={"body": "Said at the old address."})

    assert answer.status_code == 201
    assert answer.headers["Deprecation"].startswith("@")
    assert answer.headers["Link"] == '</api/tickets/1/notes>; rel="successor-version"'
    assert (
        "Deprecation" not in (await demo.post("/api/tickets/1/notes", json={"body": "x"})).headers
    )
