"""Idempotency-Key on each route that creates: a caller that got no answer asks again, safely."""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx
import pytest
from sqlalchemy import Connection, text

from inventory_api.settings import Settings
from tests.conftest import bearer
from tests.inventory_api.conftest import BATCH, LIST, app_of, new_customer
from tests.inventory_api.stock import (
    Holder,
    add_item,
    add_kit,
    deltas,
    find_faults,
    ledger,
    levels,
    new_sku,
    receive,
    statuses,
    take,
)

T = TypeVar("T")

REUSED = "urn:problem:idempotency-key-reused"
Sent = tuple[str, Any]


def keyed(key: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": key or uuid.uuid4().hex}


async def an_item(_: httpx.AsyncClient) -> Sent:
    return "/items", {"sku": new_sku(), "name": "Thing", "on_hand": 3}


async def a_movement(inventory: httpx.AsyncClient) -> Sent:
    return f"/items/{await add_item(inventory, 3)}/movements", {"quantity": 5, "reason": "came"}


async def a_package(inventory: httpx.AsyncClient) -> Sent:
    _, package_type = await add_kit(inventory, 3)
    return LIST, {"customer_id": new_customer(), "package_type": package_type}


async def a_batch(inventory: httpx.AsyncClient) -> Sent:
    _, package_type = await add_kit(inventory, 1)
    wanted = [{"customer_id": new_customer(), "package_type": package_type} for _ in range(2)]
    return BATCH, [*wanted, {"customer_id": ""}]


every_route = pytest.mark.parametrize("make", [an_item, a_movement, a_package, a_batch])
Make = Callable[[httpx.AsyncClient], Awaitable[Sent]]


async def everything_in(inventory: httpx.AsyncClient) -> tuple[Any, ...]:
    """Look at all that such a route could change: requests by status, items and their levels."""
    items: list[Any] = []
    address = "/items?limit=500"
    while address:
        answer = await inventory.get(address)
        items += answer.json()
        address = str(answer.links.get("next", {}).get("url", ""))
    return (await inventory.get("/stats")).json(), items


@every_route
async def test_the_same_again_is_answered_as_the_first_time_and_does_nothing(
    shared_inventory: httpx.AsyncClient, make: Make
) -> None:
    path, body = await make(shared_inventory)
    headers = keyed()
    before = await everything_in(shared_inventory)

    first = await shared_inventory.post(path, json=body, headers=headers)
    once = await everything_in(shared_inventory)
    again = [await shared_inventory.post(path, json=body, headers=headers) for _ in range(2)]

    assert first.status_code in {200, 201}
    assert "idempotent-replayed" not in first.headers
    assert once != before
    assert await everything_in(shared_inventory) == once
    for answer in again:
        assert (answer.status_code, answer.content) == (first.status_code, first.content)
        assert answer.headers.get("location") == first.headers.get("location")
        assert answer.headers["idempotent-replayed"] == "true"
    assert await find_faults(shared_inventory) == []


@every_route
async def test_another_body_is_refused_and_does_nothing(
    shared_inventory: httpx.AsyncClient, make: Make
) -> None:
    path, body = await make(shared_inventory)
    _, other = await make(shared_inventory)
    other = {**other, "quantity": 7} if path.endswith("/movements") else other
    headers = keyed()
    await shared_inventory.post(path, json=body, headers=headers)
    before = await everything_in(shared_inventory)

    refused = await shared_inventory.post(path, json=other, headers=headers)

    assert refused.status_code == 422
    assert refused.json()["type"] == REUSED
    assert await everything_in(shared_inventory) == before


@every_route
async def test_without_a_key_nothing_is_replayed(
    shared_inventory: httpx.AsyncClient, make: Make
) -> None:
    path, body = await make(shared_inventory)

    answers = [await shared_inventory.post(path, json=body) for _ in range(2)]

    assert all("idempotent-replayed" not in answer.headers for answer in answers)


async def rows_made(
    inventory: httpx.AsyncClient, work: Callable[[], Awaitable[T]]
) -> tuple[T, Counter[str]]:
    """Do something. Returns what came of it, and how many rows it made in which table."""

    def count(db: Connection) -> Counter[str]:
        tables = ("items", "movements", "package_requests", "reservations")
        asked = {name: f"SELECT count(*) FROM {name}" for name in tables}  # noqa: S608
        return Counter({name: db.execute(text(asked[name])).scalar_one() for name in tables})

    database = app_of(inventory).state.database
    before = await database.read(count)
    done = await work()
    return done, await database.read(count) - before


@every_route
async def test_of_the_same_at_once_one_takes_effect(
    shared_inventory: httpx.AsyncClient, make: Make, engine: str
) -> None:
    path, body = await make(shared_inventory)
    _, effect = await rows_made(shared_inventory, lambda: shared_inventory.post(path, json=body))
    path, body = await make(shared_inventory)
    headers = keyed()
    at_once = [shared_inventory.post(path, json=body, headers=headers) for _ in range(8)]

    answers, made = await rows_made(shared_inventory, lambda: asyncio.gather(*at_once))

    last = await shared_inventory.post(path, json=body, headers=headers)
    done = [answer for answer in answers if answer.status_code != 409]
    assert {answer.status_code for answer in done} == {last.status_code}
    assert made == effect
    assert {answer.content for answer in done} == {last.content}
    assert Counter("idempotent-replayed" in answer.headers for answer in done)[False] == 1
    for answer in answers:
        if answer.status_code == 409:
            assert engine == "postgresql"
            assert answer.json()["type"] == "urn:problem:still-running"
            assert int(answer.headers["retry-after"]) >= 1
    assert await find_faults(shared_inventory) == []


async def test_a_movement_is_made_once_however_often_it_is_sent(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku, headers = await add_item(shared_inventory), keyed()
    moved = {"quantity": 4, "reason": "delivery"}

    for _ in range(3):
        await shared_inventory.post(f"/items/{sku}/movements", json=moved, headers=headers)

    assert deltas(await ledger(shared_inventory, sku)) == [(4, 0, "delivery")]
    assert await levels(shared_inventory, sku) == (4, 0)


async def test_a_key_is_its_callers_own(shared_inventory: httpx.AsyncClient) -> None:
    sku, headers = await add_item(shared_inventory), keyed()

    for role, quantity in (("clerk", 1), ("admin", 2), ("clerk", 1), ("admin", 2)):
        answer = await shared_inventory.post(
            f"/items/{sku}/movements",
            json={"quantity": quantity, "reason": "delivery"},
            headers=headers | bearer(f"{role}123"),
        )
        assert answer.status_code == 201

    rows = await ledger(shared_inventory, sku)
    assert [(row["on_hand_delta"], row["actor"]) for row in rows] == [(1, "clerk"), (2, "admin")]


async def test_a_key_is_its_routes_own(shared_inventory: httpx.AsyncClient) -> None:
    one, other = await add_item(shared_inventory), await add_item(shared_inventory)
    moved, headers = {"quantity": 4, "reason": "delivery"}, keyed()

    answers = [
        await shared_inventory.post(f"/items/{one}/movements", json=moved, headers=headers),
        await shared_inventory.post(LIST, json={"customer_id": new_customer()}, headers=headers),
        await shared_inventory.post(f"/items/{other}/movements", json=moved, headers=headers),
    ]

    assert [answer.status_code for answer in answers] == [201, 201, 422]
    assert all("idempotent-replayed" not in answer.headers for answer in answers)
    assert await levels(shared_inventory, one) == (4, 0)
    assert await levels(shared_inventory, other) == (0, 0)


async def test_a_final_slash_makes_no_other_route(shared_inventory: httpx.AsyncClient) -> None:
    sku, headers = await add_item(shared_inventory), keyed()
    moved = {"quantity": 4, "reason": "delivery"}

    for slash in ("", "/"):
        path = f"/items/{sku}/movements{slash}"
        await shared_inventory.post(path, json=moved, headers=headers)

    assert await levels(shared_inventory, sku) == (4, 0)


async def test_what_was_refused_is_tried_again(shared_inventory: httpx.AsyncClient) -> None:
    sku, headers = await add_item(shared_inventory, 1), keyed()
    path, taken = f"/items/{sku}/movements", {"quantity": -3, "reason": "sold"}

    refused = await shared_inventory.post(path, json=taken, headers=headers)
    invalid = await shared_inventory.post(path, json={"quantity": 0}, headers=headers)
    await receive(shared_inventory, sku, 5)
    done = await shared_inventory.post(path, json=taken, headers=headers)

    assert [answer.status_code for answer in (refused, invalid, done)] == [409, 422, 201]
    assert "idempotent-replayed" not in done.headers
    assert await levels(shared_inventory, sku) == (3, 0)


async def test_who_may_not_learns_nothing_from_a_key(shared_inventory: httpx.AsyncClient) -> None:
    path, body = await a_movement(shared_inventory)
    headers = keyed()
    await shared_inventory.post(path, json=body, headers=headers)

    answers = [
        await shared_inventory.post(path, json=body, headers=headers | bearer(token))
        for token in ("viewer123", "wrong")
    ]

    assert [answer.status_code for answer in answers] == [403, 401]


async def test_the_first_answer_stands_whatever_became_of_it_since(
    shared_inventory: httpx.AsyncClient,
) -> None:
    path, body = await a_package(shared_inventory)
    headers = keyed()
    first = await shared_inventory.post(path, json=body, headers=headers)
    await take(shared_inventory, first.json()["request_id"], "pack", "ship")

    replayed = await shared_inventory.post(path, json=body, headers=headers)
    plain = await shared_inventory.post(path, json=body)

    assert (replayed.status_code, replayed.json()["status"]) == (201, "pending")
    assert (plain.status_code, plain.json()["status"]) == (200, "shipped")


async def test_the_log_tells_of_a_package_once(
    shared_inventory: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "inventory_api")
    for make in (a_package, a_batch):
        path, body = await make(shared_inventory)
        headers = keyed()
        for _ in range(3):
            await shared_inventory.post(path, json=body, headers=headers)

    told = [one for one in caplog.messages if "Created package request" in one]
    assert len(told) == 3


@every_route
async def test_a_key_that_cannot_be_one_is_refused(
    shared_inventory: httpx.AsyncClient, make: Make
) -> None:
    path, body = await make(shared_inventory)
    before = await everything_in(shared_inventory)

    for key in ("", "x" * 201, "with space", "Zoë", "\x7f"):
        headers = [("Idempotency-Key", key.encode())]
        answer = await shared_inventory.post(path, json=body, headers=headers)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["header", "Idempotency-Key"]
    assert await everything_in(shared_inventory) == before


@pytest.mark.engine("postgresql")
async def test_while_the_first_is_running_others_are_told_to_come_back(
    settings: Settings, inventory: httpx.AsyncClient
) -> None:
    sku, package_type = await add_kit(inventory, 1)
    wanted = {"customer_id": new_customer(), "package_type": package_type}
    headers = keyed()
    async with Holder(settings.database_url, sku) as holder:
        running = asyncio.create_task(inventory.post(LIST, json=wanted, headers=headers))
        await holder.until_waiting(1)
        meanwhile = await inventory.post(LIST, json=wanted, headers=headers)
        otherwise = await inventory.post(LIST, json={"customer_id": "1"}, headers=headers)
    first = await running
    again = await inventory.post(LIST, json=wanted, headers=headers)

    assert (meanwhile.status_code, otherwise.status_code) == (409, 409)
    assert meanwhile.json()["type"] == "urn:problem:still-running"
    assert int(meanwhile.headers["retry-after"]) >= 1
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert await statuses(inventory, package_type) == ["pending"]
