"""Where the feed ends: for who wants to know that something changed, without reading what."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from crm_api.feed import service
from tests.crm_api.conftest import (
    app_of,
    prune,
    read_feed,
    register,
    sequences,
    take_positions_back,
)

HEAD = "/api/events/head"


async def head(crm: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await crm.get(HEAD, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@asynccontextmanager
async def waiting(crm: httpx.AsyncClient, **query: Any) -> AsyncIterator[asyncio.Task[Any]]:
    """Have somebody wait for news, for long; it must end within the block."""
    committed = app_of(crm).state.database.committed
    waiter = asyncio.create_task(head(crm, wait=25, **query))
    async with asyncio.timeout(15):
        while committed._next is None:
            await crm.get("/health/ready")
            await asyncio.sleep(0)
        assert not waiter.done()
        yield waiter


async def test_the_feed_is_read_on_from_its_head(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2)

    found = await head(crm)
    await register(crm, 3)

    assert found["position"] == 2
    assert sequences(await read_feed(crm, after=found["cursor"])) == [3]


async def test_an_empty_feed_has_a_head(crm: httpx.AsyncClient) -> None:
    found = await head(crm)

    assert found["position"] == 0
    assert await head(crm, after=found["cursor"]) == found
    await register(crm, 1)
    assert (await head(crm, after=found["cursor"], wait=25))["position"] == 1


async def test_what_no_reader_has_seen_counts(crm: httpx.AsyncClient) -> None:
    await register(crm, *range(1, 5))
    take_positions_back(crm)

    assert (await head(crm))["position"] == 4


async def test_who_waits_behind_a_cursor_is_woken_by_news(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "RECHECK_SECONDS", 60)
    await register(crm, 1)
    before = await head(crm)

    async with waiting(crm, after=before["cursor"]) as waiter:
        await register(crm, 2)
        found = await waiter

    assert found["position"] == 2


async def test_news_that_is_there_is_told_at_once(crm: httpx.AsyncClient) -> None:
    before = await head(crm)
    await register(crm, 1)

    async with asyncio.timeout(15):
        assert (await head(crm, after=before["cursor"], wait=25))["position"] == 1


async def test_a_stop_ends_the_wait(crm: httpx.AsyncClient) -> None:
    before = await head(crm)

    async with waiting(crm, after=before["cursor"]) as waiter:
        app_of(crm).state.stopping.begin()
        assert await waiter == before


async def test_a_cursor_of_nothing_that_is_left_is_refused(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2)
    first = (await read_feed(crm, limit=1))["next_cursor"]
    await prune(crm, None)

    gone = await crm.get(HEAD, params={"after": first})
    nonsense = await crm.get(HEAD, params={"after": "nonsense"})

    assert (gone.status_code, gone.json()["type"]) == (410, "urn:problem:cursor-expired")
    assert (nonsense.status_code, nonsense.json()["type"]) == (400, "urn:problem:cursor-malformed")
    assert (await head(crm))["position"] == 2


async def test_whoever_reads_customers_may_know_and_sees_no_event(crm: httpx.AsyncClient) -> None:
    agent = {"Authorization": "Bearer agent123"}

    found = await crm.get(HEAD, headers=agent)

    assert found.status_code == 200
    assert set(found.json()) == {"position", "cursor"}
    assert (await crm.get("/api/events", headers=agent)).status_code == 403
