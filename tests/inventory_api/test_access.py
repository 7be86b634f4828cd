"""Who may do what, and what everybody is told about it."""

import logging
from typing import Any

import httpx
import pytest

from inventory_api.app import create_app
from inventory_api.settings import Settings
from service_kit.process.logs import TextFormatter
from tests.conftest import bearer, running
from tests.inventory_api.conftest import (
    BATCH,
    LIST,
    app_of,
    ask_from_outside,
    keeps_its_word,
    new_customer,
    request_package,
)

READERS = {"clerk", "admin", "viewer", "agent", "integration"}
WRITERS = {"clerk", "admin", "integration"}

# Method, path, body, who may, and what they are answered.
ROUTES: list[tuple[str, str, Any, set[str], int]] = [
    ("GET", LIST, None, READERS, 200),
    ("GET", f"{LIST}/{{there}}", None, READERS, 200),
    ("POST", LIST, {}, WRITERS, 201),
    ("POST", BATCH, [{}], WRITERS, 200),
]


@pytest.mark.engine("sqlite")
@pytest.mark.parametrize(("method", "path", "body", "may", "status"), ROUTES)
@pytest.mark.parametrize("role", ["clerk", "admin", "viewer", "agent", "integration", "nobody"])
async def test_a_role_may_do_just_what_its_scopes_say(
    shared_inventory: httpx.AsyncClient,
    role: str,
    method: str,
    path: str,
    body: Any,
    may: set[str],
    status: int,
) -> None:
    there = await request_package(shared_inventory)
    body = {"customer_id": new_customer()} if body == {} else body
    # A token that is none of this service's is as good as no token at all.
    headers = {"Authorization": ""} if role == "nobody" else bearer(f"{role}123")

    answer = await shared_inventory.request(
        method, path.format(there=there["request_id"]), json=body, headers=headers
    )

    if role not in READERS:
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    elif role not in may:
        assert answer.status_code == 403
        assert "packages:write" in answer.json()["detail"]
    else:
        assert answer.status_code == status


@pytest.mark.parametrize("path", [LIST, BATCH])
async def test_who_may_not_is_told_so_before_the_body_is_read(
    shared_inventory: httpx.AsyncClient, path: str
) -> None:
    answers = [
        await shared_inventory.post(path, content=b"{", headers=bearer(token))
        for token in ("wrong", "viewer123")
    ]

    assert [answer.status_code for answer in answers] == [401, 403]


async def test_scopes_can_be_opened_to_everybody(shared_url: str) -> None:
    opened = Settings(database_url=shared_url, anonymous_scopes=frozenset({"packages:read"}))
    async with running(create_app(opened)) as anybody:
        keeps_its_word(anybody)
        listed = await anybody.get(LIST)
        refused = await anybody.post(LIST, json={"customer_id": "1"})

    assert listed.status_code == 200
    assert refused.status_code == 401


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
