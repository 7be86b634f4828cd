"""The CRM on both engines: an empty one of a test's own, or one that a whole module shares."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Connection, text

from crm_api.app import create_app
from crm_api.commands import main
from crm_api.customers import service
from crm_api.customers.schemas import CustomerNew
from crm_api.feed import store
from crm_api.feed.service import Pruned
from crm_api.feed.service import prune as prune_feed
from crm_api.imports import runner
from crm_api.settings import Settings
from service_kit.database import open_database
from service_kit.web.auth import Principal
from tests.conftest import NewDatabase, copy_of_template, run_sql, running
from tests.described import keeps_its_word
from tests.personal import everything_in
from tests.statements import before_each_statement

READERS = "/api/feed-readers"
OUTSIDER = Principal("outsider", "admin", frozenset())


@pytest.fixture(scope="session", autouse=True)
def _statements_are_a_tests_own() -> Iterator[None]:
    """Keep the watch over imports asleep: every few seconds it would be among what a test counts.

    A test that is about it wakes it.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runner, "WATCH_SECONDS", 3600.0)
        yield


@pytest.fixture(scope="session")
def read_settings() -> Settings:
    """What a CRM is told by an environment; reading it takes longer than many a test."""
    return Settings(seed_demo_data=False)


@pytest.fixture
def settings(read_settings: Settings, emptied_database: NewDatabase) -> Settings:
    """What a CRM with an empty database is told by its environment."""
    return read_settings.model_copy(update={"database_url": emptied_database("crm_api")})


@pytest.fixture
async def crm(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The CRM with an empty database, as an admin sees it."""
    async with running(create_app(settings), token="admin123") as client:
        yield keeps_its_word(client)


@pytest.fixture(scope="module")
def shared_url(engine: str, request: pytest.FixtureRequest) -> str:
    """Give the URL of a database for a whole module."""
    return copy_of_template(request, engine, "crm_api")[1]


@pytest.fixture(scope="module")
async def shared_crm(shared_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A CRM that all tests of a module share, as an admin sees it; customer 1 is there."""
    app = create_app(Settings(database_url=shared_url, seed_demo_data=True))
    async with running(app, token="admin123") as client:
        yield keeps_its_word(client)


def app_of(client: httpx.AsyncClient) -> FastAPI:
    app: FastAPI = client.app  # type: ignore[attr-defined]
    return app


def numbered(number: int, **more: Any) -> dict[str, Any]:
    """Make what a caller sends to register the customer with this number."""
    return {"name": f"Customer {number}", "email": f"customer-{number}@example.com", **more}


async def register(crm: httpx.AsyncClient, *numbers: int) -> list[dict[str, Any]]:
    """Register customers with these numbers, one after another."""
    answers = [await crm.post("/api/customers", json=numbered(number)) for number in numbers]
    assert {answer.status_code for answer in answers} <= {201}
    return [answer.json() for answer in answers]


async def read_feed(crm: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    """Read one page of the feed."""
    answer = await crm.get("/api/events", params=query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def sequences(page: dict[str, Any]) -> list[int]:
    return [event["sequence"] for event in page["events"]]


def covered(page: dict[str, Any]) -> tuple[int, int, int, bool]:
    """Tell which positions a page covers: from, through, head, and whether there is more."""
    names = ("from_position", "through_position", "head_position", "has_more")
    return page[names[0]], page[names[1]], page[names[2]], page[names[3]]


async def refusal(crm: httpx.AsyncClient, **query: Any) -> tuple[int, str]:
    """Ask for a page that is not to be had. Returns the status and the problem's slug."""
    answer = await crm.get("/api/events", params=query)
    return answer.status_code, answer.json().get("type", "").removeprefix("urn:problem:")


async def announce(crm: httpx.AsyncClient, name: str, position: int, **body: Any) -> httpx.Response:
    """Say how far a reader is, as a caller does."""
    return await crm.put(f"{READERS}/{name}", json={"position": position, **body})


async def announced(crm: httpx.AsyncClient, name: str, position: int) -> dict[str, Any]:
    """Announce a reader that has read the feed up to a position."""
    body = {"cursor": await cursor_at(crm, position)} if position else {}
    answer = await announce(crm, name, position, **body)
    assert answer.status_code in {200, 201}, answer.text
    reader: dict[str, Any] = answer.json()
    return reader


async def cursor_at(crm: httpx.AsyncClient, position: int) -> str:
    return str((await read_feed(crm, limit=position))["next_cursor"])


async def prune(
    crm: httpx.AsyncClient, before: datetime | None = None, *, force: bool = False
) -> Pruned:
    """Delete events older than an instant; by default, all that are committed."""
    database = app_of(crm).state.database
    return await prune_feed(database, before or datetime.now(UTC) + timedelta(days=1), force=force)


async def fall_silent(crm: httpx.AsyncClient, name: str, silence: timedelta) -> None:
    """Set for how long a reader has not announced itself."""
    at = datetime.now(UTC) - silence
    await change_database(
        crm,
        f"UPDATE feed_readers SET announced_at = '{at:%Y-%m-%d %H:%M:%S.%f}' "  # noqa: S608
        f"WHERE name = '{name}'",
    )


async def change_database(crm: httpx.AsyncClient, *statements: str) -> None:
    """Run SQL in the CRM's own database, as no route of it does."""

    def run(db: Connection) -> None:
        for statement in statements:
            db.execute(text(statement))

    await app_of(crm).state.database.write(run)


async def all_there_is(crm: httpx.AsyncClient) -> str:
    """Read every column of every table, whichever there are by now."""
    left: str = await app_of(crm).state.database.read(everything_in)
    return left


def change_from_outside(url: str, *statements: str) -> None:
    """Run SQL on a connection of its own and commit it, from wherever this is called."""
    if url.startswith("sqlite:"):
        connection = sqlite3.connect(Path(url.removeprefix("sqlite:///")))
        connection.executescript(";".join(statements))
        connection.close()
    else:
        run_sql(url, ";".join(statements))


def take_positions_back(crm: httpx.AsyncClient, behind: int = 0) -> None:
    """Leave the events behind a position without one, as who writes while others number does.

    A version that numbered nothing at once leaves all of them so.
    """
    change_from_outside(
        app_of(crm).state.settings.database_url,
        f"UPDATE events SET position = NULL WHERE position > {behind}",  # noqa: S608
        f"UPDATE feed_head SET last_position = {behind}",  # noqa: S608
    )


def register_from_outside(url: str, number: int) -> None:
    """Register a customer and have the feed number it, as another process does; wait for it."""

    async def work() -> None:
        database = open_database(url)
        await database.open()
        await database.write(service.register, CustomerNew(**numbered(number)), OUTSIDER)
        while await database.write(store.assign_positions):
            pass
        await database.close()

    # In a thread, since the test's own loop is running.
    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    thread.join()


@contextmanager
def interrupted(db: Connection, step: int, happen: Callable[[], None]) -> Iterator[None]:
    """Let something happen elsewhere before the n-th statement of a connection; there must be one.

    On PostgreSQL each statement of a reader sees what is committed when it begins.
    """
    left = step

    def come_nearer(*_: Any) -> None:
        nonlocal left
        if left == 0:
            happen()
        left -= 1

    with before_each_statement(come_nearer, db):
        yield
    assert left < 0, f"there are {step - left} statements, and the first is number 0"


async def run(*arguments: str) -> int:
    """Run a command in a thread, since it brings an event loop of its own."""

    def command() -> int:
        try:
            return main(arguments)
        except SystemExit as refused:  # argparse's way
            return int(refused.code or 0)

    return await asyncio.to_thread(command)
