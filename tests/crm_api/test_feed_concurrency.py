"""The feed under many writers: nothing missed, nothing twice, no holes, one order for all.

The writers' transactions overlap and commit in another order than that of their ids. So that this
can be believed, a reader that goes by the last id it has seen is put in the feed's place, and must
miss some.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from crm_api.app import create_app
from crm_api.customers import service
from crm_api.customers.schemas import CustomerNew
from crm_api.feed.store import LOCK
from crm_api.settings import Settings
from service_kit.database import open_database
from service_kit.database.postgres.connect import Connections
from service_kit.web.auth import Principal
from tests.conftest import running
from tests.crm_api.conftest import keeps_its_word, read_feed

pytestmark = pytest.mark.slow

WRITER = Principal("writer", "admin", frozenset())
# Transactions of each writer.
ROUNDS = 60
PATIENCE = 40.0
POSTGRES_WRITERS = 12
SQLITE_WRITERS = 4
# As long as a transaction stays open after its insert, at most.
LONGEST = 0.03
ABANDONED = 0.1
# A customer as a transaction that is to be rolled back adds one.
COPY = """INSERT INTO customers
    (uid, name, email, email_key, metadata, created_at, updated_at, version)
    VALUES ($1, 'Jane Doe', $2, $2, '{}', now(), now(), 1)"""
# Between two looks: an app that is called without a network never gives up the loop by itself.
PAUSE = 0.002


@dataclass
class Load:
    """Writers at work; `committed` has the uids of those customers that they were told are safe."""

    url: str
    committed: set[str] = field(default_factory=set)
    # A reader has seen a customer.
    seen: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        if self.url.startswith("sqlite:"):
            work = [asyncio.to_thread(self._in_thread, n) for n in range(SQLITE_WRITERS)]
            await asyncio.gather(*work)
        else:
            unlimited = {"idle_in_transaction_session_timeout": "0"}
            engine = create_async_engine(
                "postgresql+asyncpg://",
                async_creator=Connections(self.url, "writers", **unlimited).open,
                pool_size=POSTGRES_WRITERS + 1,
            )
            await self._overlapping(engine)
            await engine.dispose()
        self.over.set()

    async def _overlapping(self, engine: Any) -> None:
        """Insert one customer before all others, and commit it after a reader has seen some.

        How many of the others overlap is up to the machine. The first is inserted while somebody
        is numbering: with a position of its own it would keep all readers waiting for its commit.
        """
        async with engine.connect() as connection, asyncio.TaskGroup() as others:
            transaction = await connection.begin()
            async with engine.begin() as numbering:
                await numbering.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
                first = await connection.run_sync(service.register, new(), WRITER)
            for number in range(POSTGRES_WRITERS):
                others.create_task(self._slowly(engine, number))
            await self.seen.wait()
            await transaction.commit()
            self.committed.add(first.uid)

    async def _slowly(self, engine: Any, number: int) -> None:
        """Hold each transaction open for a while between its insert and its commit."""
        chance = random.Random(number)
        async with engine.connect() as connection:
            for _ in range(ROUNDS):
                transaction = await connection.begin()
                customer = await connection.run_sync(service.register, new(), WRITER)
                seconds = chance.uniform(0, LONGEST)
                await connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})
                if chance.random() < ABANDONED:
                    await transaction.rollback()
                else:
                    await transaction.commit()
                    self.committed.add(customer.uid)

    def _in_thread(self, number: int) -> None:
        """Write as another process would: with a connection, a queue and a loop of its own."""
        chance = random.Random(number)

        async def write() -> None:
            database = open_database(self.url)
            await database.open()
            for _ in range(ROUNDS):
                some = [new() for _ in range(chance.randint(1, 4))]
                work = (database.write(service.register, one, WRITER) for one in some)
                self.committed.update([customer.uid for customer in await asyncio.gather(*work)])
            await database.close()

        asyncio.run(write())


def new() -> CustomerNew:
    return CustomerNew(name="Jane Doe", email=f"{random.getrandbits(80)}@example.com")


@asynccontextmanager
async def two_replicas(url: str) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Serve one database by two apps, as two processes would."""
    told = Settings(database_url=url, seed_demo_data=False)
    async with (
        running(create_app(told), token="admin123") as one,
        running(create_app(told), token="admin123") as two,
    ):
        yield [keeps_its_word(one), keeps_its_word(two)]


async def follow(
    crm: httpx.AsyncClient, load: Load, after: str | None = None, **query: Any
) -> list[dict[str, Any]]:
    """Read the feed page by page until all that was committed is there, and once more."""
    seen: list[dict[str, Any]] = []
    covered = None
    give_up_at = time.monotonic() + PATIENCE
    while time.monotonic() < give_up_at:
        finished = load.over.is_set() and {event["subject"] for event in seen} >= load.committed
        place = {"after": after} if after else {}
        page = await read_feed(crm, **place, **query)
        assert covered is None or page["from_position"] == covered + 1
        assert page["through_position"] <= page["head_position"]
        covered, after = page["through_position"], page["next_cursor"]
        seen += page["events"]
        if seen:
            load.seen.set()
        if finished and not page["events"]:
            break
        await asyncio.sleep(PAUSE)
    return seen


async def test_readers_miss_nothing_see_nothing_twice_and_agree_on_the_order(
    settings: Settings, engine: str
) -> None:
    load = Load(settings.database_url)
    async with two_replicas(load.url) as (one, two):
        *readers, _ = await asyncio.gather(
            follow(one, load, limit=3, wait=0.2),
            follow(one, load, limit=50),
            follow(two, load, limit=7, wait=0.2, types="customer.created"),
            follow(two, load, limit=500, wait=0.2),
            load.run(),
        )

    first = readers[0]
    assert len(first) > 20
    assert [event["sequence"] for event in first] == list(range(1, len(first) + 1))
    assert len({event["id"] for event in first}) == len(first)
    assert sorted(event["subject"] for event in first) == sorted(load.committed)
    assert all(reader == first for reader in readers)
    if engine == "postgresql":
        ids = [event["data"]["id"] for event in first]
        assert any(later < earlier for earlier, later in pairwise(ids)), "nothing overlapped"


@pytest.mark.engine("postgresql")
async def test_who_had_to_wait_is_numbered_behind_those_who_came_meanwhile(
    settings: Settings,
) -> None:
    """Its statement has begun before the head moved on, and goes by the head as it is then."""
    async with two_replicas(settings.database_url) as (one, two):
        other = await asyncpg.connect(settings.database_url)
        same = new()
        taking = other.transaction()
        await taking.start()
        await other.execute(COPY, "first", same.email)
        waiting = asyncio.create_task(one.post("/api/customers", json=same.model_dump()))
        while not await other.fetchval("SELECT 1 FROM pg_locks WHERE NOT granted LIMIT 1"):
            assert not waiting.done()
            await asyncio.wait([waiting], timeout=PAUSE)
        for _ in range(2):
            await two.post("/api/customers", json=new().model_dump())
        await taking.rollback()
        await other.close()

        assert (await waiting).status_code == 201
        page = await read_feed(two)

    assert [event["sequence"] for event in page["events"]] == [1, 2, 3]
    assert page["events"][-1]["subject"] == waiting.result().json()["uid"]


async def test_a_snapshot_and_the_feed_after_it_show_every_customer(settings: Settings) -> None:
    load = Load(settings.database_url)
    snapshots: list[tuple[set[str], str]] = []

    async def snap(crm: httpx.AsyncClient) -> None:
        while not load.over.is_set():
            answer = await crm.get("/api/customers", params={"limit": 40})
            cursor, uids = answer.headers["x-feed-cursor"], {one["uid"] for one in answer.json()}
            while following := answer.links.get("next"):
                answer = await crm.get(following["url"])
                uids |= {one["uid"] for one in answer.json()}
                await asyncio.sleep(PAUSE)
            snapshots.append((uids, cursor))
            await asyncio.sleep(PAUSE)

    async with two_replicas(load.url) as (one, two):
        await asyncio.gather(snap(one), follow(two, load, wait=0.2), load.run())
        for uids, cursor in snapshots[:: max(1, len(snapshots) // 8)]:
            unseen = Load(load.url, load.committed - uids)
            unseen.over.set()
            events = await follow(one, unseen, after=cursor, limit=500)
            assert uids | {event["subject"] for event in events} == load.committed

    assert len(snapshots) > 1
    assert any(0 < len(uids) < len(load.committed) for uids, _ in snapshots)


@pytest.mark.engine("postgresql")
async def test_a_reader_that_goes_by_the_last_id_misses_some(settings: Settings) -> None:
    """The same writers, and the way of reading that the feed is there to replace."""
    load = Load(settings.database_url)
    connections = Connections(load.url, "reader")
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connections.open)
    after = text("SELECT id, subject FROM events WHERE id > :last ORDER BY id LIMIT 50")

    async def follow_by_id() -> set[str]:
        seen: set[str] = set()
        last = 0
        async with engine.connect() as connection:
            while True:
                over = load.over.is_set()
                rows = (await connection.execute(after, {"last": last})).all()
                await connection.rollback()
                seen.update(row.subject for row in rows)
                if seen:
                    load.seen.set()
                last = rows[-1].id if rows else last
                if over and not rows:
                    return seen

    seen, _ = await asyncio.gather(follow_by_id(), load.run())
    await engine.dispose()

    missed = load.committed - seen
    print(f"by id: {len(missed)} of {len(load.committed)} missed")  # noqa: T201
    assert len(seen) > 20
    assert missed
