"""What an empty database starts with: two customers in development, nothing in production."""

import asyncio
import os
import sys
from typing import Any

import httpx
import pytest

from crm_api.app import create_app
from crm_api.settings import Settings
from tests.conftest import ROOT, running
from tests.crm_api.conftest import keeps_its_word, read_feed, register

JANE = (1, "Jane Doe", "jane@example.com")
JOHN = (2, "John Smith", "john@example.com")

# A service that is ready to start, and starts at a word.
STARTER = """
import asyncio, sys
from crm_api.app import create_app
from crm_api.settings import Settings

async def start():
    app = create_app(Settings.from_environment())
    print("ready", flush=True)
    sys.stdin.readline()
    async with app.router.lifespan_context(app):
        pass

asyncio.run(start())
"""


@pytest.fixture
def url(settings: Settings) -> str:
    """Give the URL of an empty database."""
    return settings.database_url


async def customers(crm: httpx.AsyncClient) -> list[tuple[int, str, str]]:
    answer = await crm.get("/api/customers")
    assert answer.status_code == 200
    return [(one["id"], one["name"], one["email"]) for one in answer.json()]


async def after_start(url: str, **environment: Any) -> list[tuple[int, str, str]]:
    return await after_start_with(Settings(database_url=url, **environment))


async def after_start_with(settings: Settings) -> list[tuple[int, str, str]]:
    token = "admin123" if settings.uses_demo_tokens else "its-own"
    async with running(create_app(settings), token=token) as crm:
        return await customers(keeps_its_word(crm))


PRODUCTION: dict[str, Any] = {"environment": "production", "api_tokens": "admin:its-own"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, [JANE, JOHN]),
        ({"environment": "development"}, [JANE, JOHN]),
        ({"seed_demo_data": False}, []),
        ({"seed_demo_data": True}, [JANE, JOHN]),
        (PRODUCTION, []),
        ({**PRODUCTION, "seed_demo_data": True}, [JANE, JOHN]),
        ({**PRODUCTION, "seed_demo_data": False}, []),
    ],
    ids=str,
)
async def test_an_empty_database_starts_with_what_the_environment_says(
    url: str, environment: dict[str, Any], expected: list[tuple[int, str, str]]
) -> None:
    assert await after_start(url, **environment) == expected


@pytest.mark.parametrize(("value", "expected"), [("false", []), ("true", [JANE, JOHN])])
async def test_the_variable_is_read_from_the_environment(
    url: str,
    value: str,
    expected: list[tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEED_DEMO_DATA", value)
    monkeypatch.setenv("DATABASE_URL", url)

    assert await after_start_with(Settings.from_environment()) == expected


async def test_demo_customers_are_told_of_in_the_feed(url: str) -> None:
    async with running(create_app(Settings(database_url=url)), token="admin123") as crm:
        page = await read_feed(crm, types="customer.created")

    assert [event["data"]["id"] for event in page["events"]] == [1, 2]


async def test_demo_customers_get_no_welcome_package(url: str) -> None:
    async with running(create_app(Settings(database_url=url)), token="admin123") as crm:
        page = await read_feed(crm, types="customer.created")
        owed = await crm.get("/api/customers", params={"welcome": "true"})

    assert [event["data"].get("welcome") for event in page["events"]] == [False, False]
    assert owed.json() == []


async def test_a_restart_adds_and_restores_nothing(url: str) -> None:
    app = create_app(Settings(database_url=url))
    async with running(app, token="admin123") as crm:
        await crm.patch("/api/customers/1", json={"email": "new@example.com"})

    for _ in range(2):
        assert await after_start(url) == [(1, "Jane Doe", "new@example.com"), JOHN]


async def test_a_database_with_customers_of_its_own_gets_none(url: str) -> None:
    app = create_app(Settings(database_url=url, seed_demo_data=False))
    async with running(app, token="admin123") as crm:
        await register(crm, 1)

    assert await after_start(url) == [(1, "Customer 1", "customer-1@example.com")]


@pytest.mark.long
@pytest.mark.slow
async def test_two_processes_that_start_at_once_leave_two_customers(url: str) -> None:
    environment = {**os.environ, "DATABASE_URL": url, "SEED_DEMO_DATA": "true"}
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout"), asyncio.subprocess.PIPE)
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", STARTER, env=environment, cwd=ROOT, **pipes
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"

    await asyncio.gather(*(process.communicate(b"go\n") for process in processes))

    assert [process.returncode for process in processes] == [0, 0]
    assert await after_start(url, seed_demo_data=False) == [JANE, JOHN]


async def test_many_replicas_that_start_at_once_leave_two_customers(url: str) -> None:
    answers = await asyncio.gather(*(after_start(url) for _ in range(6)))

    assert answers == [[JANE, JOHN]] * 6
