"""One move of up to 500 package requests: each is moved as if it were the only one."""

import asyncio
import uuid
from collections import Counter
from typing import Any

import httpx
import pytest

from inventory_api.app import create_app
from inventory_api.settings import Settings
from tests.conftest import running
from tests.inventory_api.conftest import LIST, keeps_its_word, request_package
from tests.inventory_api.stock import (
    ALLOWED,
    TARGETS,
    add_item,
    add_kit,
    find_faults,
    levels,
    put_kit,
    request_many,
    shown,
    statuses,
    take,
)
from tests.inventory_api.test_stock_moves import BEFORE, package_that_is
from tests.statements import statements

MOVES = f"{LIST}/moves"


async def move(
    inventory: httpx.AsyncClient, step: str, request_ids: list[str], **headers: str
) -> list[dict[str, Any]]:
    body = {"move": step, "request_ids": request_ids}
    answer = await inventory.post(MOVES, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()
    assert len(results) == len(request_ids)
    return results


async def ids_of(inventory: httpx.AsyncClient, package_type: str) -> list[str]:
    listed = await inventory.get(LIST, params={"package_type": package_type, "limit": 500})
    return [one["request_id"] for one in listed.json()]


@pytest.mark.parametrize("step", TARGETS)
async def test_each_is_moved_or_refused_as_if_it_were_alone(
    shared_inventory: httpx.AsyncClient, step: str
) -> None:
    packages = {status: await package_that_is(shared_inventory, status) for status in BEFORE}
    ids = [package.request_id for package in packages.values()]
    nobodys = str(uuid.uuid4())

    *results, unknown = await move(shared_inventory, step, [*ids, nobodys])

    assert unknown["status"] == 404
    assert unknown["problem"]["type"] == "urn:problem:package-request-not-found"
    for (status, package), result in zip(packages.items(), results, strict=True):
        after = await shown(shared_inventory, package.request_id)
        if TARGETS[step] in {status, *ALLOWED[status]}:
            assert (result["status"], result["package_request"]) == (200, after)
            assert after["status"] == TARGETS[step]
        else:
            problem = result["problem"]
            assert (result["status"], after["status"]) == (409, status)
            assert problem["type"] == "urn:problem:invalid-transition"
            assert problem["allowed_statuses"] == ALLOWED[status]
    assert await find_faults(shared_inventory) == []


async def test_stock_moves_once_for_each_however_often_it_is_named(
    shared_inventory: httpx.AsyncClient,
) -> None:
    card = await add_item(shared_inventory, 10)
    mug = await add_item(shared_inventory, 10)
    kit = await put_kit(shared_inventory, {card: 1, mug: 2})
    one, other = [await request_package(shared_inventory, package_type=kit) for _ in range(2)]
    ids = [one["request_id"], other["request_id"].upper(), one["request_id"]]

    for step, stock in (
        ("pack", [(10, 2), (10, 4)]),
        ("ship", [(8, 0), (6, 0)]),
        ("ship", [(8, 0), (6, 0)]),
        ("return", [(10, 0), (10, 0)]),
    ):
        results = await move(shared_inventory, step, ids)
        assert {result["status"] for result in results} == {200}
        assert results[0] == results[2]
        assert [await levels(shared_inventory, sku) for sku in (card, mug)] == stock
    assert await find_faults(shared_inventory) == []


async def test_what_is_cancelled_goes_to_whoever_waits_at_once(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku, package_type = await add_kit(shared_inventory, 2)
    await request_many(shared_inventory, package_type, 5)
    holders = (await ids_of(shared_inventory, package_type))[:2]
    await take(shared_inventory, holders[0], "pack")

    await move(shared_inventory, "cancel", holders)
    after_cancelling = await statuses(shared_inventory, package_type)
    await move(shared_inventory, "unpack", holders)

    waiting = ["pending", "backordered", "backordered"]
    assert after_cancelling == ["cancelled", "cancelled", *waiting]
    assert await statuses(shared_inventory, package_type) == [
        *("cancelled", "cancelled", "pending", "pending", "backordered")
    ]
    assert await levels(shared_inventory, sku) == (2, 2)
    assert await find_faults(shared_inventory) == []


async def test_one_that_waits_and_is_named_too_is_not_moved_on_what_the_others_free(
    shared_inventory: httpx.AsyncClient,
) -> None:
    """Its turn is over when the stock comes: nobody is served by an order of names."""
    _, package_type = await add_kit(shared_inventory, 1)
    await request_many(shared_inventory, package_type, 2)
    holder, waiting = await ids_of(shared_inventory, package_type)

    results = await move(shared_inventory, "cancel", [holder, waiting])

    assert [result["package_request"]["status"] for result in results] == ["cancelled"] * 2
    assert await find_faults(shared_inventory) == []


async def test_many_moves_cost_as_many_statements_as_few(
    shared_inventory: httpx.AsyncClient,
) -> None:
    costs = []
    for size in (5, 250):
        _, package_type = await add_kit(shared_inventory, size)
        await request_many(shared_inventory, package_type, 2 * size)
        ids = (await ids_of(shared_inventory, package_type))[:size]
        with statements() as sent:
            for step in ("pack", "ship", "deliver", "return"):
                await move(shared_inventory, step, ids)
        costs.append(len(sent))

    assert costs[0] == costs[1]
    assert costs[0] <= 15 * 4


async def test_each_that_is_moved_is_in_the_audit(shared_inventory: httpx.AsyncClient) -> None:
    packages = [await package_that_is(shared_inventory, one) for one in ("pending", "shipped")]
    ids = [package.request_id for package in packages]

    await move(shared_inventory, "pack", ids)

    for request_id, number in zip(ids, (1, 0), strict=True):
        query = {"subject": request_id, "action": "package.packed", "limit": 500}
        entries = (await shared_inventory.get("/audit", params=query)).json()
        before = 1 if request_id == ids[1] else 0  # when it was brought into its status
        assert len(entries) == number + before


async def test_a_key_gets_the_first_answer_again_but_of_no_erased_customer(
    shared_inventory: httpx.AsyncClient,
) -> None:
    _, package_type = await add_kit(shared_inventory, 2)
    ada, bob = [
        await request_package(shared_inventory, package_type=package_type, customer_name=name)
        for name in ("Ada", "Bob")
    ]
    ids = [ada["request_id"], bob["request_id"]]
    key = uuid.uuid4().hex
    first = await move(shared_inventory, "pack", ids, **{"Idempotency-Key": key})
    await move(shared_inventory, "ship", ids)

    again = await move(shared_inventory, "pack", ids, **{"Idempotency-Key": key})
    erasure = {"customer_ids": [ada["customer_id"]]}
    assert (await shared_inventory.post(f"{LIST}/erasures", json=erasure)).status_code == 200
    later = await move(shared_inventory, "pack", ids, **{"Idempotency-Key": key})

    assert again == first
    assert [result["status"] for result in later] == [410, 200]
    assert later[1] == first[1]
    assert "Ada" not in str(later)


@pytest.mark.parametrize(
    "body",
    [
        {"move": "pack", "request_ids": []},
        {"move": "empty", "request_ids": ["1"]},
        {"move": "pack", "request_ids": [1]},
        {"move": "pack", "request_ids": ["x" * 37]},
        {"move": "pack", "request_ids": [str(number) for number in range(501)]},
        {"move": "pack"},
        ["1"],
    ],
    ids=str,
)
@pytest.mark.engine("sqlite")
async def test_what_names_no_requests_or_no_move_is_refused(
    shared_inventory: httpx.AsyncClient, body: Any
) -> None:
    assert (await shared_inventory.post(MOVES, json=body)).status_code == 422


async def test_moves_that_meet_wait_for_each_other_and_never_for_ever(settings: Settings) -> None:
    """Each frees or wants what the others hold, in other orders."""
    async with (
        running(create_app(settings), token="admin123") as one,
        running(create_app(settings), token="admin123") as other,
    ):
        _, package_type = await add_kit(keeps_its_word(one), 10)
        await request_many(one, package_type, 40)
        ids = await ids_of(one, package_type)
        counted: Counter[int] = Counter()
        for turn in range(4):
            some = ids[turn * 3 :]
            answers = await asyncio.gather(
                move(one, "cancel", some[:8]),
                move(other, "pack", some[::-1]),
                move(one, "pack", some[4:20]),
                move(other, "cancel", some[20:2:-1]),
                move(other, "unpack", some),
            )
            counted.update(result["status"] for results in answers for result in results)
        assert await find_faults(one) == []

    assert set(counted) <= {200, 409}
