"""What an empty database starts with: a kit without stock to mind, and one with."""

import asyncio
import threading
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from inventory_api.app import create_app
from inventory_api.settings import Settings
from tests.conftest import NewDatabase, running
from tests.inventory_api.conftest import keeps_its_word
from tests.inventory_api.stock import (
    deltas,
    find_faults,
    ledger,
    levels,
    put_kit,
    receive,
    request_many,
)

ITEMS = [("WELCOME-CARD", False, 0), ("MUG-BLUE", True, 100), ("NOTEBOOK-A5", True, 200)]
KITS = {
    "welcome_package": (1, {"WELCOME-CARD": 1}),
    "gift_package": (1, {"MUG-BLUE": 1, "NOTEBOOK-A5": 2}),
}
PRODUCTION: dict[str, Any] = {"environment": "production", "api_tokens": "admin:its-own"}
Stock = tuple[list[tuple[str, bool, int]], dict[str, tuple[int, dict[str, int]]]]


@pytest.fixture
def url(new_database: NewDatabase) -> str:
    """Give the URL of an empty database."""
    return new_database("inventory_api")


async def stock_of(inventory: httpx.AsyncClient) -> Stock:
    """List the items with what there is of each, and the kits with their versions."""
    items = (await inventory.get("/items")).json()
    kits = (await inventory.get("/kits")).json()
    return (
        [(item["sku"], item["tracked"], item["on_hand"]) for item in items],
        {
            kit["package_type"]: (
                kit["version"],
                {line["sku"]: line["quantity"] for line in kit["lines"]},
            )
            for kit in kits
        },
    )


async def after_start(url: str, **environment: Any) -> Stock:
    return await after_start_with(Settings(database_url=url, **environment))


async def after_start_with(settings: Settings) -> Stock:
    token = "admin123" if settings.uses_demo_tokens else "its-own"
    async with running(create_app(settings), token=token) as inventory:
        return await stock_of(keeps_its_word(inventory))


@pytest.mark.parametrize(
    ("environment", "seeded"),
    [
        ({}, True),
        ({"seed_demo_data": False}, False),
        ({"seed_demo_data": True}, True),
        (PRODUCTION, False),
        ({**PRODUCTION, "seed_demo_data": True}, True),
    ],
    ids=str,
)
async def test_an_empty_database_starts_with_what_the_environment_says(
    url: str, environment: dict[str, Any], seeded: bool
) -> None:
    assert await after_start(url, **environment) == ((ITEMS, KITS) if seeded else ([], {}))


@pytest.mark.parametrize("value", ["false", "true"])
async def test_the_variable_is_read_from_the_environment(
    url: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEED_DEMO_DATA", value)
    monkeypatch.setenv("DATABASE_URL", url)

    assert bool((await after_start_with(Settings.from_environment()))[0]) == (value == "true")


async def test_demo_stock_is_in_the_ledger_and_the_books_balance(url: str) -> None:
    async with running(create_app(Settings(database_url=url)), token="admin123") as inventory:
        rows = await ledger(inventory, "MUG-BLUE")
        assert deltas(rows) == [(100, 0, "initial stock")]
        assert rows[0]["actor"] == "demo-data"
        assert await ledger(inventory, "WELCOME-CARD") == []
        assert await find_faults(inventory) == []


async def test_a_welcome_needs_no_stock_and_a_gift_does(url: str) -> None:
    async with running(create_app(Settings(database_url=url)), token="admin123") as inventory:
        welcomes = await request_many(inventory, "welcome_package", 500)
        gifts = await request_many(inventory, "gift_package", 101)

        assert welcomes == {"pending": 500}
        assert gifts == {"pending": 100, "backordered": 1}
        assert await levels(inventory, "MUG-BLUE") == (100, 100)
        assert await levels(inventory, "NOTEBOOK-A5") == (200, 200)
        assert await find_faults(inventory) == []


async def test_a_restart_adds_and_restores_nothing(url: str) -> None:
    app = create_app(Settings(database_url=url))
    async with running(app, token="admin123") as inventory:
        await inventory.patch("/items/MUG-BLUE", json={"name": "Green mug"})
        await receive(inventory, "MUG-BLUE", -100)
        await put_kit(inventory, {"NOTEBOOK-A5": 1}, "welcome_package")
        before = await stock_of(inventory)

    async with running(create_app(Settings(database_url=url)), token="admin123") as inventory:
        assert await stock_of(inventory) == before
        assert (await inventory.get("/items/MUG-BLUE")).json()["name"] == "Green mug"
        assert len(await ledger(inventory, "MUG-BLUE")) == 2


async def test_a_database_with_items_of_its_own_gets_no_demo_data(url: str) -> None:
    told = Settings(database_url=url, seed_demo_data=False)
    async with running(create_app(told), token="admin123") as inventory:
        await inventory.post("/items", json={"sku": "OWN", "name": "Own"})

    assert await after_start(url) == ([("OWN", True, 0)], {})


async def test_replicas_that_start_at_once_seed_once(url: str) -> None:
    """Each with a loop and connections of its own, as processes have them."""
    apps = [create_app(Settings(database_url=url)) for _ in range(4)]
    together = threading.Barrier(len(apps), timeout=20)

    async def start(app: FastAPI) -> None:
        together.wait()
        async with app.router.lifespan_context(app):
            pass

    await asyncio.gather(*(asyncio.to_thread(asyncio.run, start(app)) for app in apps))

    assert await after_start(url, seed_demo_data=False) == (ITEMS, KITS)
