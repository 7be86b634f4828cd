"""What the log and the documentation say about package requests."""

import logging
from typing import Any

import httpx
import pytest

from inventory_api.app import create_app
from inventory_api.settings import Settings
from service_kit.process.logs import TextFormatter
from tests.conftest import running
from tests.inventory_api.conftest import (
    BATCH,
    LIST,
    app_of,
    ask_from_outside,
    new_customer,
    request_package,
)


def operations_of(inventory: httpx.AsyncClient) -> list[tuple[str, str, dict[str, Any]]]:
    paths = app_of(inventory).openapi()["paths"]
    return [
        (method, path, operation)
        for path, operations in paths.items()
        for method, operation in operations.items()
    ]


async def test_each_example_of_the_documentation_works_when_sent(
    shared_inventory: httpx.AsyncClient,
) -> None:
    schemas = app_of(shared_inventory).openapi()["components"]["schemas"]
    sent = []
    for method, path, operation in operations_of(shared_inventory):
        if not path.startswith(LIST) or method != "post" or "{" in path:
            continue
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        if "$ref" in schema:
            schema = schemas[schema["$ref"].rpartition("/")[2]]
        for example in schema["examples"]:
            answer = await shared_inventory.post(path, json=example)
            assert answer.status_code in {200, 201}
            if path == BATCH:
                assert {result["status"] for result in answer.json()} <= {200, 201}
            sent.append(path)

    assert {LIST, BATCH} <= set(sent)


async def test_each_operation_says_what_it_does_and_what_it_may_answer(
    shared_inventory: httpx.AsyncClient,
) -> None:
    for _, path, operation in operations_of(shared_inventory):
        assert operation["summary"]
        assert (
            "422" not in operation["responses"]
            or "application/problem+json" in (operation["responses"]["422"]["content"])
        )
        if path.startswith(LIST):
            assert {"401", "403", "500", "503"} <= operation["responses"].keys()


CREATED = "INVENTORY_API: Created package request for customer: "


async def test_the_log_tells_of_each_new_package_and_of_no_other(
    shared_inventory: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "inventory_api")
    alone, batched = new_customer(), new_customer()
    named = {"customer_id": alone, "customer_name": "Jane Doe"}

    await shared_inventory.post(LIST, json=named)
    await shared_inventory.post(LIST, json=named)
    await shared_inventory.post(LIST, json={**named, "customer_name": "John Doe"})
    await shared_inventory.post(LIST, json={"customer_id": ""})
    await shared_inventory.post(BATCH, json=[named, {"customer_id": batched}, named, {}])

    told = [record for record in caplog.records if CREATED in record.getMessage()]
    assert [record.getMessage() for record in told] == [CREATED + alone, CREATED + batched]
    assert TextFormatter().format(told[0]).startswith(f"INFO: {CREATED}{alone} [")


class Witness(logging.Handler):
    """Looks, at the moment of each such line, whether an outsider can see the package."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self.seen: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        if CREATED in record.getMessage():
            customer = record.getMessage().rpartition(" ")[2]
            question = f"SELECT count(*) FROM package_requests WHERE customer_id = '{customer}'"  # noqa: S608
            self.seen.append(ask_from_outside(self._url, question))


async def test_the_log_tells_of_a_package_only_after_it_is_committed(
    shared_url: str, shared_inventory: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "inventory_api")
    witness = Witness(shared_url)
    logging.getLogger("inventory_api").addHandler(witness)
    try:
        await request_package(shared_inventory)
        batch = [{"customer_id": new_customer()} for _ in range(2)]
        await shared_inventory.post(BATCH, json=batch)
    finally:
        logging.getLogger("inventory_api").removeHandler(witness)

    assert witness.seen == [1, 1, 1]


async def test_nothing_is_told_of_a_package_that_could_not_be_committed(
    shared_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "inventory_api")
    async with running(create_app(Settings(database_url=shared_url)), token="admin123") as client:
        await app_of(client).state.database.close()
        answer = await client.post(LIST, json={"customer_id": new_customer()})

    assert answer.status_code == 503
    assert CREATED not in caplog.text
