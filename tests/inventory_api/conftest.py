"""Inventory on both engines: an empty one of a test's own, or one that a whole module shares."""

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Connection, text

from inventory_api.app import create_app
from inventory_api.settings import Settings
from tests.conftest import NewDatabase, copy_of_template, running
from tests.described import keeps_its_word

LIST = "/package-requests"
BATCH = "/package-requests/batch"
CONFLICT = "urn:problem:package-request-conflict"


@pytest.fixture(scope="session")
def read_settings() -> Settings:
    """What an Inventory is told by an environment; reading it takes longer than many a test."""
    return Settings()


@pytest.fixture
def settings(read_settings: Settings, emptied_database: NewDatabase) -> Settings:
    return read_settings.model_copy(update={"database_url": emptied_database("inventory_api")})


@pytest.fixture
async def inventory(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Inventory with an empty database, as an admin sees it."""
    async with running(create_app(settings), token="admin123") as client:
        yield keeps_its_word(client)


@pytest.fixture(scope="module")
def shared_url(engine: str, request: pytest.FixtureRequest) -> str:
    return copy_of_template(request, engine, "inventory_api")[1]


@pytest.fixture(scope="module")
async def shared_inventory(shared_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """An Inventory that all tests of a module share, as an admin sees it."""
    async with running(create_app(Settings(database_url=shared_url)), token="admin123") as client:
        yield keeps_its_word(client)


def app_of(client: httpx.AsyncClient) -> FastAPI:
    app: FastAPI = client.app  # type: ignore[attr-defined]
    return app


def new_customer() -> str:
    """Make the uid of a customer whom no other test knows."""
    return str(uuid.uuid4())


async def request_package(inventory: httpx.AsyncClient, **wanted: Any) -> dict[str, Any]:
    """Have a package made that is new. Returns its request."""
    answer = await inventory.post(LIST, json={"customer_id": new_customer(), **wanted})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def change_database(inventory: httpx.AsyncClient, *statements: str) -> None:
    """Run SQL as an operator would, beside Inventory."""

    def run(db: Connection) -> None:
        for statement in statements:
            db.execute(text(statement))

    await app_of(inventory).state.database.write(run)


def ask_from_outside(url: str, question: str) -> Any:
    """Ask for one value on a connection of its own, from wherever this is called."""
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return connection.execute(question).fetchone()[0]

    async def ask() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(question)
        finally:
            await connection.close()

    # In a thread, since the test's own loop may be running.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, ask()).result()


async def walk(inventory: httpx.AsyncClient, **query: Any) -> list[list[str]]:
    """Follow the Link headers from the first page. Returns the customers on each page."""
    pages = []
    address = str(httpx.URL(LIST, params=query))
    while address:
        answer = await inventory.get(address)
        assert answer.status_code == 200, answer.text
        pages.append([one["customer_id"] for one in answer.json()])
        address = str(answer.links.get("next", {}).get("url", ""))
        assert bool(address) == ("x-next-cursor" in answer.headers)
        if address:
            assert httpx.URL(address).params["cursor"] == answer.headers["x-next-cursor"]
    return pages
