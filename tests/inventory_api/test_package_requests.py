"""Package requests: one for ever a customer, a type and an occurrence, whoever asks how often."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.inventory_api.conftest import (
    CONFLICT,
    LIST,
    change_database,
    new_customer,
    request_package,
)


async def test_a_new_package_request_is_created(shared_inventory: httpx.AsyncClient) -> None:
    customer = new_customer()
    sent = {"customer_id": customer, "customer_name": "Jane Doe", "note": "Ring twice\nplease"}

    answer = await shared_inventory.post(LIST, json=sent)

    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{LIST}/{made['request_id']}"
    assert uuid.UUID(made["request_id"]).version == 7
    assert made["created_at"] == made["updated_at"]
    assert made["created_at"].endswith("Z")
    assert datetime.now(UTC) - datetime.fromisoformat(made["created_at"]) < timedelta(minutes=1)
    assert made == made | sent | {
        "package_type": "welcome_package",
        "occurrence": 1,
        "status": "pending",
    }


async def test_the_same_again_is_answered_with_the_one_that_is_there(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sent = {"customer_id": new_customer(), "customer_name": "Jane Doe", "note": "Ring"}
    first = await shared_inventory.post(LIST, json=sent)

    again = await shared_inventory.post(LIST, json=sent)

    assert again.status_code == 200
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]


@pytest.mark.parametrize(
    "repeated",
    [
        {},
        {"customer_name": "Jane Doe"},
        {"note": "Ring"},
        {"note": None, "customer_name": None},
        {"package_type": "welcome_package", "occurrence": 1},
        {"customer_name": "  Jane Doe "},
    ],
)
async def test_what_is_left_out_contradicts_nothing(
    shared_inventory: httpx.AsyncClient, repeated: dict[str, Any]
) -> None:
    made = await request_package(shared_inventory, customer_name="Jane Doe", note="Ring")

    again = await shared_inventory.post(LIST, json={"customer_id": made["customer_id"], **repeated})

    assert again.status_code == 200
    assert again.json() == made


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ({"customer_name": "Jane Doe"}, {"customer_name": "Jane D."}),
        ({"customer_name": "Jane Doe"}, {"customer_name": "jane doe"}),
        ({"note": "Ring"}, {"note": "Knock"}),
        ({"note": "Ring"}, {"note": ""}),
        ({}, {"customer_name": "Jane Doe"}),
        ({}, {"note": "Ring"}),
        ({"note": "Ring", "customer_name": "Jane"}, {"note": "Ring", "customer_name": "Joan"}),
    ],
)
async def test_other_content_conflicts_and_names_the_request_that_is_there(
    shared_inventory: httpx.AsyncClient, there: dict[str, Any], asked: dict[str, Any]
) -> None:
    made = await request_package(shared_inventory, **there)

    refused = await shared_inventory.post(LIST, json={"customer_id": made["customer_id"], **asked})

    assert refused.status_code == 409
    assert refused.json()["type"] == CONFLICT
    assert refused.json()["request_id"] == made["request_id"]
    assert (await shared_inventory.get(f"{LIST}/{made['request_id']}")).json() == made


@pytest.mark.parametrize(
    "other", [{"occurrence": 2}, {"package_type": "birthday.package-2"}, {"occurrence": 1_000_000}]
)
async def test_another_type_or_occurrence_is_another_package(
    shared_inventory: httpx.AsyncClient, other: dict[str, Any]
) -> None:
    first = await request_package(shared_inventory)

    second = await request_package(shared_inventory, customer_id=first["customer_id"], **other)

    assert second["request_id"] != first["request_id"]
    assert second == second | other


@pytest.mark.parametrize("customer", ["1", "x" * 64, "Zoë 🎉", "a/b?c#d%00", "'; DROP TABLE x"])
async def test_any_text_can_be_a_customers_id(
    shared_inventory: httpx.AsyncClient, customer: str
) -> None:
    made = await request_package(shared_inventory, customer_id=customer)

    listed = await shared_inventory.get(LIST, params={"customer_id": customer})

    assert made["customer_id"] == customer
    assert listed.json() == [made]


async def test_ids_that_differ_in_case_are_of_different_customers(
    shared_inventory: httpx.AsyncClient,
) -> None:
    customer = new_customer()

    lower = await request_package(shared_inventory, customer_id=f"a{customer[1:]}")
    upper = await request_package(shared_inventory, customer_id=f"A{customer[1:]}")

    assert lower["request_id"] != upper["request_id"]


async def test_a_request_is_looked_up_by_its_id(shared_inventory: httpx.AsyncClient) -> None:
    made = await request_package(shared_inventory, customer_name="Jane Doe")

    found = await shared_inventory.get(f"{LIST}/{made['request_id']}")
    spelled_otherwise = await shared_inventory.get(f"{LIST}/{made['request_id'].upper()}/")

    assert found.json() == spelled_otherwise.json() == made


async def test_an_id_that_nobody_has_is_not_found(shared_inventory: httpx.AsyncClient) -> None:
    answer = await shared_inventory.get(f"{LIST}/{uuid.uuid4()}")

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:problem:package-request-not-found"


async def test_a_repetition_months_later_still_finds_the_first(
    shared_inventory: httpx.AsyncClient,
) -> None:
    made = await request_package(shared_inventory)
    await change_database(
        shared_inventory,
        "UPDATE package_requests SET status = 'delivered',"  # noqa: S608
        " created_at = '2020-01-01 00:00:00', updated_at = '2020-02-01 00:00:00'"
        f" WHERE request_id = '{made['request_id']}'",
    )

    again = await shared_inventory.post(LIST, json={"customer_id": made["customer_id"]})

    assert again.status_code == 200
    assert again.json()["request_id"] == made["request_id"]
    assert again.json()["status"] == "delivered"
    assert again.json()["created_at"] == "2020-01-01T00:00:00Z"


async def test_a_reader_that_has_the_newest_version_is_sent_no_body(
    shared_inventory: httpx.AsyncClient,
) -> None:
    made = await request_package(shared_inventory)
    path = f"{LIST}/{made['request_id']}"
    seen = (await shared_inventory.get(path)).headers["ETag"]

    same = await shared_inventory.get(path, headers={"If-None-Match": seen})
    await shared_inventory.post(f"{path}/cancel")
    newer = await shared_inventory.get(path, headers={"If-None-Match": seen})

    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", seen)
    assert (newer.status_code, newer.json()["status"]) == (200, "cancelled")
