"""What stands between a client and a server in other tests changes nothing by itself."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from tests.chaos.database_link import DatabaseLink
from tests.chaos.faulty_link import FaultyLink, Journal
from tests.conftest import bearer
from tests.system.database_proxy import proxied
from tests.system.proxy import Proxy
from tests.system.stack import Stack

ASKED = [
    ("GET", "/health", {}),
    ("GET", "/api/customers/1", {}),
    ("GET", "/api/customers?limit=1", {"headers": bearer("agent123")}),
    ("POST", "/api/customers", {"headers": bearer("agent123"), "json": {"name": "Zoë"}}),
]
# What differs between two answers of the same server.
OWN = {"date", "x-request-id", "connection", "keep-alive"}


@contextmanager
def proxy(port: int, _: Path) -> Iterator[str]:
    with Proxy(port) as one:
        yield one.url


@contextmanager
def faulty_link(port: int, folder: Path) -> Iterator[str]:
    journal = Journal(folder / "schedule.jsonl")
    link = FaultyLink("a link", port, 1, journal)
    with start_blocking_portal() as portal:
        portal.call(link.open)
        yield link.url
        portal.call(link.close)
    journal.close()
    assert not link.faults


@pytest.mark.engine("sqlite")
@pytest.mark.parametrize("between", [proxy, faulty_link])
def test_what_passes_is_what_the_server_says(
    stack: Stack, tmp_path: Path, between: Callable[[int, Path], AbstractContextManager[str]]
) -> None:
    stack.crm.restart()
    with between(stack.crm.port, tmp_path) as url:
        for method, path, more in ASKED:
            straight = stack.client.request(method, stack.crm.url + path, **more)
            passed = httpx.request(method, url + path, trust_env=False, **more)
            assert passed.status_code == straight.status_code
            assert _told(passed) == _told(straight)


def _told(answer: httpx.Response) -> object:
    body = answer.json()
    if isinstance(body, dict):
        body.pop("request_id", None)
    headers = {name: value for name, value in answer.headers.items() if name not in OWN}
    return headers, body


def test_what_passes_on_the_way_to_postgresql_is_what_the_server_says(
    postgres_server: str,
) -> None:
    async def ask(url: str) -> list[object]:
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(LARGE)]
        finally:
            await connection.close()

    async def through_a_link() -> list[object]:
        link = DatabaseLink(postgres_server)
        await link.open()
        try:
            return await ask(link.url(postgres_server))
        finally:
            await link.close()

    straight = asyncio.run(ask(postgres_server))
    with proxied(postgres_server) as database:
        assert asyncio.run(ask(database.url(postgres_server))) == straight
    assert asyncio.run(through_a_link()) == straight


# More than goes into one packet.
LARGE = "SELECT n, repeat('x', n) FROM generate_series(1, 1000) AS n"


async def test_a_link_that_has_fallen_silent_keeps_its_connections_and_says_nothing(
    postgres_server: str,
) -> None:
    link = DatabaseLink(postgres_server)
    await link.open()
    connection = await asyncpg.connect(link.url(postgres_server))
    link.fall_silent(0)

    asking = asyncio.create_task(connection.fetchval("SELECT 1"))
    await asyncio.wait([asking], timeout=0.3)
    assert not asking.done()
    other = await asyncpg.connect(link.url(postgres_server))
    assert await other.fetchval("SELECT 1") == 1

    await other.close()
    connection.terminate()
    await asyncio.wait([asking], timeout=5)
    assert asking.exception() is not None
    await link.close()
