"""Callers who ask for the same package at the same moment: one makes it, the others get it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from inventory_api.app import create_app
from inventory_api.settings import Settings
from service_kit.database.errors import is_conflict
from service_kit.database.postgres import database as postgres
from tests.conftest import running
from tests.inventory_api.conftest import BATCH, LIST, new_customer

CREATORS = 30


async def ask(inventory: httpx.AsyncClient, customer: str, number: int) -> int:
    """Ask as the caller with this number does: alone, or within a batch of others."""
    wanted = {"customer_id": customer, "customer_name": "Jane Doe"}
    if number % 3:
        return (await inventory.post(LIST, json=wanted)).status_code
    others: list[dict[str, Any]] = [{"customer_id": new_customer()} for _ in range(3)]
    batch = [*others[: number % 4], wanted, *others[number % 4 :]]
    answer = await inventory.post(BATCH, json=batch)
    assert answer.status_code == 200, answer.text
    status: int = answer.json()[batch.index(wanted)]["status"]
    return status


async def packages_of(inventory: httpx.AsyncClient, customer: str) -> int:
    return len((await inventory.get(LIST, params={"customer_id": customer})).json())


async def test_one_of_thirty_callers_makes_the_package(
    shared_inventory: httpx.AsyncClient,
) -> None:
    customer = new_customer()

    answers = await asyncio.gather(
        *(ask(shared_inventory, customer, number) for number in range(CREATORS))
    )

    assert Counter(answers) == {201: 1, 200: CREATORS - 1}
    assert await packages_of(shared_inventory, customer) == 1


@pytest.fixture
async def replicas(shared_url: str) -> AsyncIterator[list[httpx.AsyncClient]]:
    settings = Settings(database_url=shared_url)
    async with (
        running(create_app(settings), token="admin123") as one,
        running(create_app(settings), token="admin123") as other,
    ):
        yield [one, other]


async def test_one_makes_it_when_two_replicas_are_asked(
    replicas: list[httpx.AsyncClient],
) -> None:
    customer = new_customer()

    answers = await asyncio.gather(
        *(ask(replicas[n % 2], customer, n // 2) for n in range(CREATORS))
    )

    assert Counter(answers) == {201: 1, 200: CREATORS - 1}
    assert await packages_of(replicas[0], customer) == 1


@pytest.mark.parametrize("size", [2, 100])
async def test_batches_that_cross_each_other_all_succeed_at_once(
    replicas: list[httpx.AsyncClient], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    conflicts: list[BaseException] = []

    def note(error: BaseException) -> bool:
        conflicts.append(error)
        return is_conflict(error)

    monkeypatch.setattr(postgres, "is_conflict", note)
    customers = [{"customer_id": new_customer()} for _ in range(size)]

    # In opposite orders each waits for a row that the other has, unless the server sorts.
    answers = await asyncio.gather(
        *(replicas[n % 2].post(BATCH, json=customers[:: -1 if n % 2 else 1]) for n in range(8))
    )

    results = [result["status"] for answer in answers for result in answer.json()]
    assert Counter(results) == {201: size, 200: 7 * size}
    # A deadlock would be resolved too, but only after everybody in it has waited for a second.
    assert conflicts == []


async def test_contradicting_callers_get_one_package_and_conflicts(
    shared_inventory: httpx.AsyncClient,
) -> None:
    customer = new_customer()

    answers = await asyncio.gather(
        *(
            shared_inventory.post(LIST, json={"customer_id": customer, "customer_name": name})
            for name in ["Jane", "Joan"] * 10
        )
    )

    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 9, 409: 10}
    made = {answer.json()["request_id"] for answer in answers}
    assert len(made) == 1
