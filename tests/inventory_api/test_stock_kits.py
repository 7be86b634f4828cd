"""Kits: one version after another, of which a package request keeps the one it was promised."""

import asyncio
import uuid
from collections import Counter
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.inventory_api.conftest import LIST, request_package
from tests.inventory_api.stock import (
    add_item,
    find_faults,
    levels,
    new_sku,
    put_kit,
    receive,
    request_many,
    status_of,
    statuses,
    take,
)


def lines(**quantities: int) -> dict[str, Any]:
    return {"lines": [{"sku": sku, "quantity": number} for sku, number in quantities.items()]}


async def find_kit(inventory: httpx.AsyncClient, package_type: str) -> list[dict[str, Any]]:
    """Look a kit up in the list of all. Returns what there is of it."""
    found: list[dict[str, Any]] = []
    address = "/kits?limit=500"
    while address:
        answer = await inventory.get(address)
        assert answer.status_code == 200
        found += [kit for kit in answer.json() if kit["package_type"] == package_type]
        address = str(answer.links.get("next", {}).get("url", ""))
    return found


async def test_a_kit_that_is_new_is_created(shared_inventory: httpx.AsyncClient) -> None:
    one, two = await add_item(shared_inventory), await add_item(shared_inventory, tracked=False)
    package_type = f"gift.{uuid.uuid4().hex}_-X"

    answer = await shared_inventory.put(
        f"/kits/{package_type}",
        json={"lines": [{"sku": two, "quantity": 10_000}, {"sku": one, "quantity": 1}]},
    )

    kit = answer.json()
    assert answer.status_code == 201
    assert datetime.fromisoformat(kit["created_at"]).tzinfo is not None
    assert kit["created_at"].endswith("Z")
    assert kit == {
        "package_type": package_type,
        "version": 1,
        "lines": [{"sku": one, "quantity": 1}, {"sku": two, "quantity": 10_000}],
        "created_at": kit["created_at"],
    }
    assert await find_kit(shared_inventory, package_type) == [kit]


async def test_what_differs_is_the_next_version_and_what_does_not_is_none(
    shared_inventory: httpx.AsyncClient,
) -> None:
    a, b = await add_item(shared_inventory), await add_item(shared_inventory)
    package_type = await put_kit(shared_inventory, {a: 1})
    wanted = [{a: 1}, {a: 2}, {a: 2, b: 1}, {b: 1, a: 2}, {}, {}, {a: 1}]

    answers = [
        await shared_inventory.put(f"/kits/{package_type}", json=lines(**one)) for one in wanted
    ]

    assert {answer.status_code for answer in answers} == {200}
    assert [answer.json()["version"] for answer in answers] == [1, 2, 3, 3, 4, 4, 5]
    assert await find_kit(shared_inventory, package_type) == [answers[-1].json()]


async def test_a_package_request_keeps_the_version_it_had(
    shared_inventory: httpx.AsyncClient,
) -> None:
    old, new = await add_item(shared_inventory, 1), await add_item(shared_inventory, 5)
    package_type = await put_kit(shared_inventory, {old: 1})
    pending = await request_package(shared_inventory, package_type=package_type)
    waiting = await request_package(shared_inventory, package_type=package_type)

    await put_kit(shared_inventory, {new: 2}, package_type)
    later = await request_package(shared_inventory, package_type=package_type)

    assert (waiting["status"], later["status"]) == ("backordered", "pending")
    for made, sku, quantity in ((pending, old, 1), (waiting, old, 1), (later, new, 2)):
        found = (await shared_inventory.get(f"{LIST}/{made['request_id']}")).json()
        assert made["lines"] == found["lines"] == [{"sku": sku, "quantity": quantity}]
    listed = await shared_inventory.get(LIST, params={"package_type": package_type})
    assert [one["lines"][0]["sku"] for one in listed.json()] == [old, old, new]
    await take(shared_inventory, pending["request_id"], "pack", "ship")
    assert await levels(shared_inventory, old) == (0, 0)
    await receive(shared_inventory, old, 1)
    assert await status_of(shared_inventory, waiting["request_id"]) == "pending"
    await take(shared_inventory, pending["request_id"], "return")
    assert await levels(shared_inventory, old) == (2, 1)
    assert await levels(shared_inventory, new) == (5, 2)
    assert await find_faults(shared_inventory) == []


async def test_a_type_without_a_kit_holds_nothing_and_waits_for_nothing(
    shared_inventory: httpx.AsyncClient,
) -> None:
    package_type = f"kit-{uuid.uuid4().hex}"
    made = await request_package(shared_inventory, package_type=package_type)
    sku = await add_item(shared_inventory)
    await put_kit(shared_inventory, {sku: 1}, package_type)

    await take(shared_inventory, made["request_id"], "pack", "ship", "deliver", "return")

    assert (made["status"], made["lines"]) == ("pending", [])
    assert await levels(shared_inventory, sku) == (0, 0)
    assert await find_faults(shared_inventory) == []


async def test_of_an_untracked_item_there_is_always_enough(
    shared_inventory: httpx.AsyncClient,
) -> None:
    card, mug = await add_item(shared_inventory, tracked=False), await add_item(shared_inventory, 2)
    package_type = await put_kit(shared_inventory, {card: 10_000, mug: 1})

    assert await request_many(shared_inventory, package_type, 3) == {"pending": 2, "backordered": 1}

    first, *_ = (await shared_inventory.get(LIST, params={"package_type": package_type})).json()
    assert first["lines"] == [{"sku": card, "quantity": 10_000}, {"sku": mug, "quantity": 1}]
    await take(shared_inventory, first["request_id"], "pack", "ship", "return")
    assert await statuses(shared_inventory, package_type) == ["returned", "pending", "pending"]
    assert await levels(shared_inventory, card) == (0, 0)
    assert await find_faults(shared_inventory) == []


async def test_a_kit_of_items_that_do_not_exist_is_refused_by_name_and_place(
    shared_inventory: httpx.AsyncClient,
) -> None:
    there, package_type = await add_item(shared_inventory), f"kit-{uuid.uuid4().hex}"
    wanted = {new_sku(): 1, there: 1, there.lower(): 1}

    answer = await shared_inventory.put(f"/kits/{package_type}", json=lines(**wanted))

    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:problem:invalid-request"
    assert [error["loc"] for error in answer.json()["errors"]] == [
        ["body", "lines", 0, "sku"],
        ["body", "lines", 2, "sku"],
    ]
    assert await find_kit(shared_inventory, package_type) == []


async def test_a_kit_names_an_item_once(shared_inventory: httpx.AsyncClient) -> None:
    sku, package_type = await add_item(shared_inventory), f"kit-{uuid.uuid4().hex}"
    twice = {"lines": [{"sku": sku, "quantity": 1}, {"sku": sku, "quantity": 2}]}

    assert (await shared_inventory.put(f"/kits/{package_type}", json=twice)).status_code == 422
    assert await find_kit(shared_inventory, package_type) == []


async def test_a_change_that_is_refused_leaves_the_version_before(
    shared_inventory: httpx.AsyncClient,
) -> None:
    package_type = await put_kit(shared_inventory, {await add_item(shared_inventory): 1})
    before = await find_kit(shared_inventory, package_type)

    answer = await shared_inventory.put(f"/kits/{package_type}", json=lines(**{new_sku(): 1}))

    assert answer.status_code == 422
    assert await find_kit(shared_inventory, package_type) == before


async def test_versions_that_are_made_at_once_have_numbers_of_their_own(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku = await add_item(shared_inventory)
    package_type = await put_kit(shared_inventory, {sku: 1})

    answers = await asyncio.gather(
        *(
            shared_inventory.put(f"/kits/{package_type}", json=lines(**{sku: quantity}))
            for quantity in range(2, 12)
        )
    )

    counted = Counter(answer.status_code for answer in answers)
    assert counted[200] >= 1
    assert counted[200] + counted[409] == 10
    made = [answer.json()["version"] for answer in answers if answer.status_code == 200]
    assert sorted(made) == list(range(2, counted[200] + 2))
    assert {answer.json()["type"] for answer in answers if answer.status_code == 409} <= {
        "urn:problem:kit-changed"
    }


@pytest.mark.parametrize("limit", [1, 2, 500])
async def test_pages_hold_every_kit_once_the_newest_type_last(
    shared_inventory: httpx.AsyncClient, limit: int
) -> None:
    sku = await add_item(shared_inventory)
    made = [await put_kit(shared_inventory, {sku: 1}) for _ in range(3)]
    await put_kit(shared_inventory, {sku: 2}, made[0])
    seen: list[str] = []
    address = f"/kits?limit={limit}"
    while address:
        answer = await shared_inventory.get(address)
        assert answer.status_code == 200
        assert len(answer.json()) <= limit
        seen += [kit["package_type"] for kit in answer.json()]
        address = str(answer.links.get("next", {}).get("url", ""))
        assert bool(address) == ("x-next-cursor" in answer.headers)

    assert seen[:2] == ["welcome_package", "gift_package"]
    assert seen[-3:] == made
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "aWQ6", "aWQ6LTE", "bmFtZTox", "%00"])
async def test_a_cursor_that_no_page_of_kits_gave_out_is_refused(
    shared_inventory: httpx.AsyncClient, cursor: str
) -> None:
    answer = await shared_inventory.get(f"/kits?cursor={cursor}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", "cursor"]
