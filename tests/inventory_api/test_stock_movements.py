"""Movements: an append-only ledger, never below what is reserved; what comes in is given out."""

import asyncio
from collections import Counter

import httpx
import pytest

from tests.conftest import bearer
from tests.inventory_api.conftest import request_package
from tests.inventory_api.stock import (
    add_item,
    add_kit,
    deltas,
    find_faults,
    ledger,
    levels,
    put_kit,
    receive,
    request_many,
    status_of,
    statuses,
    take,
)


async def move_stock(inventory: httpx.AsyncClient, sku: str, quantity: int) -> httpx.Response:
    moved = {"quantity": quantity, "reason": "stocktake"}
    return await inventory.post(f"/items/{sku}/movements", json=moved)


async def test_a_movement_is_a_row_of_the_ledger(shared_inventory: httpx.AsyncClient) -> None:
    sku = await add_item(shared_inventory, 10)

    answer = await shared_inventory.post(
        f"/items/{sku}/movements",
        json={"quantity": -3, "reason": "broken in transit"},
        headers=bearer("clerk123"),
    )

    row = answer.json()
    assert answer.status_code == 201
    assert row == {
        "id": row["id"],
        "on_hand_delta": -3,
        "reserved_delta": 0,
        "reason": "broken in transit",
        "reference": None,
        "actor": "clerk",
        "at": row["at"],
    }
    assert row["at"].endswith("Z")
    assert (await ledger(shared_inventory, sku))[-1] == row
    assert await levels(shared_inventory, sku) == (7, 0)


# On hand, reserved, what is moved, and what is answered.
@pytest.mark.parametrize(
    ("on_hand", "reserved", "quantity", "status"),
    [
        (0, 0, 1, 201),
        (0, 0, 1_000_000_000, 201),
        (0, 0, -1, 409),
        (5, 0, -5, 201),
        (5, 0, -6, 409),
        (5, 2, -3, 201),
        (5, 2, -4, 409),
        (5, 5, -1, 409),
        (5, 5, -1_000_000_000, 409),
        (5, 5, 1, 201),
    ],
)
async def test_stock_never_goes_below_what_is_reserved(
    shared_inventory: httpx.AsyncClient, on_hand: int, reserved: int, quantity: int, status: int
) -> None:
    sku = await add_item(shared_inventory, on_hand)
    if reserved:
        await request_package(
            shared_inventory, package_type=await put_kit(shared_inventory, {sku: reserved})
        )
    before = await ledger(shared_inventory, sku)

    answer = await move_stock(shared_inventory, sku, quantity)

    assert answer.status_code == status
    if status == 409:
        problem = answer.json()
        assert problem["type"] == "urn:problem:stock-below-reserved"
        assert (problem["on_hand"], problem["reserved"]) == (on_hand, reserved)
        assert await ledger(shared_inventory, sku) == before
        quantity = 0
    assert await levels(shared_inventory, sku) == (on_hand + quantity, reserved)


@pytest.mark.parametrize("quantity", [1, -1])
async def test_an_untracked_item_has_no_stock_to_move(
    shared_inventory: httpx.AsyncClient, quantity: int
) -> None:
    sku = await add_item(shared_inventory, tracked=False)

    answer = await move_stock(shared_inventory, sku, quantity)

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:problem:item-untracked"
    assert await ledger(shared_inventory, sku) == []


async def test_of_takers_at_once_none_takes_what_another_has(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku = await add_item(shared_inventory, 10)

    answers = await asyncio.gather(*(move_stock(shared_inventory, sku, -3) for _ in range(8)))

    assert Counter(answer.status_code for answer in answers) == {201: 3, 409: 5}
    assert await levels(shared_inventory, sku) == (1, 0)


@pytest.mark.parametrize("limit", [1, 2, 7, 500])
async def test_pages_of_a_ledger_hold_each_row_once_newest_last(
    shared_inventory: httpx.AsyncClient, limit: int
) -> None:
    sku = await add_item(shared_inventory, 1)
    for quantity in range(2, 8):
        await receive(shared_inventory, sku, quantity)
    seen: list[int] = []
    address = f"/items/{sku}/movements?limit={limit}"
    while address:
        answer = await shared_inventory.get(address)
        assert len(answer.json()) <= limit
        seen += [row["on_hand_delta"] for row in answer.json()]
        address = str(answer.links.get("next", {}).get("url", ""))

    assert seen == list(range(1, 8))


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_the_ledger_is_never_changed(
    shared_inventory: httpx.AsyncClient, method: str
) -> None:
    sku = await add_item(shared_inventory, 1)

    answer = await shared_inventory.request(method, f"/items/{sku}/movements")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


# ---- What comes in goes to whoever has waited longest ----


async def test_what_comes_in_is_given_out_oldest_first(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku, package_type = await add_kit(shared_inventory, 2)
    assert await request_many(shared_inventory, package_type, 6) == {"pending": 2, "backordered": 4}

    await receive(shared_inventory, sku, 3)

    assert await statuses(shared_inventory, package_type) == ["pending"] * 5 + ["backordered"]
    assert await levels(shared_inventory, sku) == (5, 5)
    assert await find_faults(shared_inventory) == []


async def test_who_waits_for_more_than_came_does_not_keep_others_waiting(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku = await add_item(shared_inventory)
    large = await put_kit(shared_inventory, {sku: 5})
    small = await put_kit(shared_inventory, {sku: 2})
    first = await request_package(shared_inventory, package_type=large)
    second = await request_package(shared_inventory, package_type=small)
    third = await request_package(shared_inventory, package_type=small)

    await receive(shared_inventory, sku, 3)
    then = [await status_of(shared_inventory, one["request_id"]) for one in (first, second, third)]
    await receive(shared_inventory, sku, 4)
    now = [await status_of(shared_inventory, one["request_id"]) for one in (first, second, third)]

    assert then == ["backordered", "pending", "backordered"]
    assert now == ["pending", "pending", "backordered"]
    assert await find_faults(shared_inventory) == []


async def test_a_package_gets_all_it_needs_or_none_of_it(
    shared_inventory: httpx.AsyncClient,
) -> None:
    there, missing = await add_item(shared_inventory, 3), await add_item(shared_inventory)
    package_type = await put_kit(shared_inventory, {there: 2, missing: 1})
    made = await request_package(shared_inventory, package_type=package_type)

    assert made["status"] == "backordered"
    assert await levels(shared_inventory, there) == (3, 0)
    await receive(shared_inventory, missing, 1)

    assert await status_of(shared_inventory, made["request_id"]) == "pending"
    assert await levels(shared_inventory, there) == (3, 2)
    assert await levels(shared_inventory, missing) == (1, 1)


async def test_the_ledger_says_for_whom_stock_was_reserved_and_by_whose_doing(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku, package_type = await add_kit(shared_inventory)
    made = await request_package(shared_inventory, package_type=package_type)
    moved = {"quantity": 4, "reason": "delivery 4711"}

    answer = await shared_inventory.post(
        f"/items/{sku}/movements", json=moved, headers=bearer("clerk123")
    )

    rows = await ledger(shared_inventory, sku)
    assert answer.json() == rows[0]
    assert deltas(rows) == [(4, 0, "delivery 4711"), (0, 1, "reserved")]
    assert [row["reference"] for row in rows] == [None, made["request_id"]]
    assert [row["actor"] for row in rows] == ["clerk", "clerk"]


async def test_a_long_queue_is_served_to_its_end(shared_inventory: httpx.AsyncClient) -> None:
    sku, package_type = await add_kit(shared_inventory)
    for _ in range(3):
        await request_many(shared_inventory, package_type, 400)

    await receive(shared_inventory, sku, 1_150)

    found = await statuses(shared_inventory, package_type)
    assert found == ["pending"] * 1_150 + ["backordered"] * 50
    assert await find_faults(shared_inventory) == []


async def test_what_is_taken_away_is_given_to_nobody(shared_inventory: httpx.AsyncClient) -> None:
    sku = await add_item(shared_inventory, 3)
    package_type = await put_kit(shared_inventory, {sku: 4})
    waiting = await request_package(shared_inventory, package_type=package_type)

    answer = await move_stock(shared_inventory, sku, -1)

    assert answer.status_code == 201
    assert await status_of(shared_inventory, waiting["request_id"]) == "backordered"


FREEING: dict[str, tuple[list[str], str]] = {
    "a pending package is cancelled": ([], "cancel"),
    "a packed package is unpacked": (["pack", "cancel"], "unpack"),
    "a shipped package comes back": (["pack", "ship"], "return"),
    "a delivered package comes back": (["pack", "ship", "deliver"], "return"),
}


@pytest.mark.parametrize(("before", "move"), FREEING.values(), ids=FREEING)
async def test_what_is_freed_goes_to_whoever_has_waited_longest(
    shared_inventory: httpx.AsyncClient, before: list[str], move: str
) -> None:
    _, package_type = await add_kit(shared_inventory, 1)
    first = await request_package(shared_inventory, package_type=package_type)
    second = await request_package(shared_inventory, package_type=package_type)
    third = await request_package(shared_inventory, package_type=package_type)
    await take(shared_inventory, first["request_id"], *before)

    await take(shared_inventory, first["request_id"], move)

    assert await status_of(shared_inventory, second["request_id"]) == "pending"
    assert await status_of(shared_inventory, third["request_id"]) == "backordered"
    assert await find_faults(shared_inventory) == []


async def test_what_is_freed_serves_other_kits_with_the_same_item(
    shared_inventory: httpx.AsyncClient,
) -> None:
    shared, own = await add_item(shared_inventory, 2), await add_item(shared_inventory, 5)
    one = await put_kit(shared_inventory, {shared: 2})
    other = await put_kit(shared_inventory, {own: 1, shared: 1})
    holder = await request_package(shared_inventory, package_type=one)
    waiting = await request_package(shared_inventory, package_type=other)

    await take(shared_inventory, holder["request_id"], "cancel")

    assert await status_of(shared_inventory, waiting["request_id"]) == "pending"
    assert await levels(shared_inventory, shared) == (2, 1)
    assert await levels(shared_inventory, own) == (5, 1)


async def test_who_comes_later_gets_what_is_too_little_for_those_before(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku = await add_item(shared_inventory, 1)
    large = await put_kit(shared_inventory, {sku: 2})
    small = await put_kit(shared_inventory, {sku: 1})

    made = [
        (await request_package(shared_inventory, package_type=package_type))["status"]
        for package_type in (large, small, small)
    ]

    assert made == ["backordered", "pending", "backordered"]
    assert await find_faults(shared_inventory) == []


async def test_the_ledger_is_read_from_either_end(shared_inventory: httpx.AsyncClient) -> None:
    sku = await add_item(shared_inventory, 10)
    for quantity in (1, 2, 3):
        await receive(shared_inventory, sku, quantity)
    oldest_first = await ledger(shared_inventory, sku)

    address, newest_first = f"/items/{sku}/movements?sort=-id&limit=3", []
    while address:
        answer = await shared_inventory.get(address)
        newest_first += answer.json()
        address = str(answer.links.get("next", {}).get("url", ""))

    assert [row["on_hand_delta"] for row in oldest_first] == [10, 1, 2, 3]
    assert newest_first == oldest_first[::-1]
