"""Batches: a result an item, in order, and none that spoils another."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from integration_service.targets import failures
from tests.inventory_api.conftest import (
    BATCH,
    CONFLICT,
    LIST,
    new_customer,
    request_package,
)
from tests.statements import before_each_statement

AS_JSON = {"Content-Type": "application/json"}


async def send(inventory: httpx.AsyncClient, items: list[Any]) -> list[dict[str, Any]]:
    answer = await inventory.post(BATCH, json=items)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()
    return results


async def test_each_item_gets_its_own_result_in_order(
    shared_inventory: httpx.AsyncClient,
) -> None:
    there = await request_package(shared_inventory, customer_name="Jane Doe")
    new, newer = new_customer(), new_customer()

    results = await send(
        shared_inventory,
        [
            {"customer_id": new},
            {"customer_id": there["customer_id"], "customer_name": "Jane Doe"},
            {"customer_id": there["customer_id"], "customer_name": "John Doe"},
            {"customer_id": ""},
            {"customer_id": newer, "package_type": "gift", "note": "Ring"},
        ],
    )

    assert [result["status"] for result in results] == [201, 200, 409, 422, 201]
    assert results[0]["package_request"]["customer_id"] == new
    assert results[1]["package_request"] == there
    assert results[2]["problem"]["type"] == CONFLICT
    assert results[2]["problem"]["request_id"] == there["request_id"]
    assert results[3]["problem"]["type"] == "urn:problem:invalid-request"
    assert results[3]["problem"]["errors"][0]["loc"] == ["customer_id"]
    assert results[4]["package_request"]["note"] == "Ring"
    # Whom a refusal is about, where that can be a customer at all.
    assert results[2]["problem"]["customer_id"] == there["customer_id"]
    assert "customer_id" not in results[3]["problem"]
    # Either the one or the other, so that nobody mistakes an empty place for an answer.
    assert {"problem", "package_request"} & results[0].keys() == {"package_request"}
    assert {"problem", "package_request"} & results[2].keys() == {"problem"}


async def test_the_integration_believes_what_is_refused_of_an_item_and_of_a_request(
    shared_inventory: httpx.AsyncClient,
) -> None:
    there = (await request_package(shared_inventory, customer_name="Jane Doe"))["customer_id"]
    conflict = {"customer_id": there, "customer_name": "John Doe"}
    unfit = {"customer_id": "C1", "occurrence": 0}

    for item, result in zip(
        [conflict, unfit], await send(shared_inventory, [conflict, unfit]), strict=True
    ):
        meant = failures.classify_item(
            result["status"], result["problem"], str(item["customer_id"])
        )
        assert isinstance(meant, failures.Refused)
        foreign = failures.classify_item(result["status"], result["problem"], "another")
        assert isinstance(foreign, failures.Misconfigured)
    for body in (b"[]", b"[{]", b"[" + b" " * (1024 * 1024) + b"]"):
        answer = await shared_inventory.post(BATCH, content=body, headers=AS_JSON)
        whole = failures.classify_answer(answer.status_code, answer.headers, answer.json())
        assert isinstance(whole, failures.Unfit), answer.text


async def test_a_result_holds_what_a_look_up_answers(shared_inventory: httpx.AsyncClient) -> None:
    [result] = await send(shared_inventory, [{"customer_id": new_customer()}])

    made = result["package_request"]
    assert (await shared_inventory.get(f"{LIST}/{made['request_id']}")).json() == made


async def test_who_is_named_twice_in_a_batch_gets_one_package(
    shared_inventory: httpx.AsyncClient,
) -> None:
    customer = new_customer()
    named = {"customer_id": customer, "customer_name": "Jane Doe"}

    results = await send(
        shared_inventory,
        [
            named,
            {"customer_id": customer},
            {**named, "customer_name": "John Doe"},
            {**named, "occurrence": 2},
            named,
        ],
    )

    assert [result["status"] for result in results] == [201, 200, 409, 201, 200]
    first = results[0]["package_request"]["request_id"]
    assert [results[n]["package_request"]["request_id"] for n in (1, 4)] == [first, first]
    assert results[2]["problem"]["request_id"] == first
    listed = await shared_inventory.get(LIST, params={"customer_id": customer})
    assert [one["occurrence"] for one in listed.json()] == [1, 2]


async def test_a_batch_that_is_sent_again_makes_nothing_new(
    shared_inventory: httpx.AsyncClient,
) -> None:
    items = [{"customer_id": new_customer()} for _ in range(10)]

    first = await send(shared_inventory, items)
    again = await send(shared_inventory, items[::-1])

    assert {result["status"] for result in again} == {200}
    assert [result["package_request"] for result in again[::-1]] == [
        result["package_request"] for result in first
    ]


@pytest.mark.parametrize(("size", "status"), [(0, 422), (1, 200), (500, 200), (501, 422)])
async def test_a_batch_holds_one_to_500(
    shared_inventory: httpx.AsyncClient, size: int, status: int
) -> None:
    answer = await shared_inventory.post(
        BATCH, json=[{"customer_id": new_customer()} for _ in range(size)]
    )

    assert answer.status_code == status
    if status == 200:
        assert [result["status"] for result in answer.json()] == [201] * size


async def test_a_batch_of_nothing_but_faults_is_answered_item_by_item(
    shared_inventory: httpx.AsyncClient,
) -> None:
    results = await send(shared_inventory, [None, 1, "x", [], {}, {"customer_id": None}])

    assert [result["status"] for result in results] == [422] * 6


@pytest.fixture
def statements() -> Callable[[], int]:
    """Count the statements of this process's databases from here on."""
    seen: list[str] = []

    def note(statement: str) -> None:
        if not statement.lstrip().upper().startswith(("SAVEPOINT", "RELEASE")):
            seen.append(statement)

    with before_each_statement(note):
        yield lambda: len(seen)


async def test_a_batch_takes_a_few_statements_whatever_its_size(
    shared_inventory: httpx.AsyncClient, statements: Callable[[], int]
) -> None:
    taken = []
    for size in (1, 50, 500):
        before = statements()
        await send(shared_inventory, [{"customer_id": new_customer()} for _ in range(size)])
        taken.append(statements() - before)

    assert len(set(taken)) == 1
    assert taken[0] <= 10
