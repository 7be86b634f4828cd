"""The long poll: an answer as soon as there is news, whoever made it, and never a lost wake-up."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from crm_api.customers import service as customers
from crm_api.customers.schemas import CustomerNew
from crm_api.feed import service
from service_kit.database import Database, open_database
from service_kit.web import overload
from service_kit.web.auth import Principal
from tests.crm_api.conftest import app_of, covered, numbered, read_feed, register, sequences

ELSEWHERE = Principal("elsewhere", "admin", frozenset())


@pytest.fixture
def _no_recheck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a waiting reader nothing but its wake-up."""
    monkeypatch.setattr(service, "RECHECK_SECONDS", 60)


@asynccontextmanager
async def waiting(crm: httpx.AsyncClient, **query: Any) -> AsyncIterator[asyncio.Task[Any]]:
    """Have a reader wait for news, for long unless said otherwise; it must end within the block.

    It fails when nothing but the end of 25 seconds ends the wait.
    """
    committed = app_of(crm).state.database.committed
    reader = asyncio.create_task(read_feed(crm, **{"wait": 25, **query}))
    async with asyncio.timeout(15):
        while committed._next is None:
            await crm.get("/health/ready")
            await asyncio.sleep(0)
        assert not reader.done()
        yield reader


@asynccontextmanager
async def other_process(crm: httpx.AsyncClient) -> AsyncIterator[Database]:
    """Open the CRM's database once more, as another process would."""
    database = open_database(app_of(crm).state.settings.database_url)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def test_news_that_is_there_is_answered_at_once(crm: httpx.AsyncClient) -> None:
    await register(crm, 1)

    async with asyncio.timeout(15):
        page = await read_feed(crm, wait=25)

    assert sequences(page) == [1]


@pytest.mark.usefixtures("_no_recheck")
async def test_who_waits_takes_the_place_of_nobody_who_works(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(crm.app.state.capacity.waiting, "most", 0)

    answer = await crm.get("/api/events?wait=0.1")

    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:problem:overloaded"
    assert (await crm.get("/api/events")).status_code == 200


async def test_news_wakes_every_reader_that_waits(crm: httpx.AsyncClient) -> None:
    await register(crm, 1)
    after = (await read_feed(crm))["next_cursor"]

    async with waiting(crm, after=after) as reader:
        others = [read_feed(crm, after=after, wait=25, limit=limit) for limit in range(1, 8)]
        everyone = asyncio.gather(reader, *others)
        await register(crm, 2)
        pages = await everyone

    assert [sequences(page) for page in pages] == [[2]] * 8


@pytest.mark.usefixtures("_no_recheck")
async def test_no_news_is_lost_between_looking_and_waiting(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed when the reader has looked, but does not wait yet, must wake it too."""
    database = app_of(crm).state.database
    looked: list[Any] = []
    read = database.read

    async def read_then_register(*work: Any) -> Any:
        looked.append(await read(*work))
        if len(looked) == 1:
            await register(crm, 1)
        return looked[-1]

    monkeypatch.setattr(database, "read", read_then_register)
    async with asyncio.timeout(15):
        page = await read_feed(crm, wait=25)

    assert looked[0].rows == []
    assert sequences(page) == [1]


@pytest.mark.usefixtures("_no_recheck")
async def test_readers_and_writers_that_start_together_always_meet(crm: httpx.AsyncClient) -> None:
    after = (await read_feed(crm))["next_cursor"]
    for number in range(1, 31):
        async with asyncio.timeout(15):
            page, _ = await asyncio.gather(
                read_feed(crm, after=after, wait=25), register(crm, number)
            )
        assert sequences(page) == [number]
        after = page["next_cursor"]


@pytest.mark.usefixtures("_no_recheck")
async def test_a_change_wakes_a_reader_of_its_type_alone(crm: httpx.AsyncClient) -> None:
    await register(crm, 1)

    async with waiting(crm, types="customer.updated") as reader:
        await register(crm, 2)
        assert not reader.done()
        await crm.patch("/api/customers/1", json={"name": "New"})
        page = await reader

    assert sequences(page) == [3]
    assert covered(page) == (1, 3, 3, False)


async def test_a_wait_in_vain_ends_with_a_page_that_covers_what_was_passed_over(
    crm: httpx.AsyncClient,
) -> None:
    await register(crm, 1, 2)
    began_at = time.monotonic()

    async with waiting(crm, types="customer.erased", wait=0.4) as reader:
        await register(crm, 3)
        page = await reader

    assert time.monotonic() - began_at >= 0.4
    assert page["events"] == []
    assert covered(page) == (1, 3, 3, False)
    assert covered(await read_feed(crm, after=page["next_cursor"])) == (4, 3, 3, False)


async def test_no_wait_is_no_wait(crm: httpx.AsyncClient) -> None:
    async with asyncio.timeout(15):
        assert covered(await read_feed(crm, wait=0)) == (1, 0, 0, False)


async def test_news_of_another_process_is_seen_at_the_next_recheck(
    crm: httpx.AsyncClient,
) -> None:
    async with other_process(crm) as elsewhere, waiting(crm) as reader:
        await elsewhere.write(customers.register, CustomerNew(**numbered(1)), ELSEWHERE)
        page = await reader

    assert sequences(page) == [1]


@pytest.mark.usefixtures("_no_recheck")
@pytest.mark.engine("postgresql")
async def test_postgresql_tells_of_another_process_at_once(crm: httpx.AsyncClient) -> None:
    async with other_process(crm) as elsewhere, waiting(crm) as reader:
        for number in range(1000):  # until both have connected to say it and to hear it
            await elsewhere.write(customers.register, CustomerNew(**numbered(number)), ELSEWHERE)
            if (await asyncio.wait({reader}, timeout=0.05))[0]:
                break
        page = await reader

    assert sequences(page)[0] == 1


@pytest.mark.usefixtures("_no_recheck")
async def test_a_stop_ends_every_wait_at_once(crm: httpx.AsyncClient) -> None:
    async with waiting(crm) as reader:
        app_of(crm).state.stopping.begin()
        page = await reader

    assert covered(page) == (1, 0, 0, False)


@pytest.mark.usefixtures("_no_recheck")
async def test_a_reader_that_goes_away_leaves_nothing_behind(crm: httpx.AsyncClient) -> None:
    before = asyncio.all_tasks()

    async with waiting(crm) as reader:
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader

    await register(crm, 1)
    assert asyncio.all_tasks() <= before
    assert sequences(await read_feed(crm, wait=25)) == [1]


@pytest.mark.usefixtures("_no_recheck")
async def test_a_reader_that_goes_away_wakes_nobody(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = app_of(crm).state.database
    read, looks = database.read, []

    async def counted(work: Any, *values: Any) -> Any:
        if work is service.page:
            looks.append(work)
        return await read(work, *values)

    async def settled(number: int) -> None:
        async with asyncio.timeout(5):
            while len(looks) < number:
                await crm.get("/health/ready")
        for _ in range(5):
            await crm.get("/health/ready")

    monkeypatch.setattr(database, "read", counted)
    async with waiting(crm) as stays, waiting(crm) as goes:
        await settled(2)
        goes.cancel()
        with pytest.raises(asyncio.CancelledError):
            await goes
        await settled(2)
        assert len(looks) == 2
        await register(crm, 1)
        assert sequences(await stays) == [1]
