"""A link to PostgreSQL that goes mute: nothing passes any more, and nothing says so."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from select import select as wait_until_readable

import pytest
from sqlalchemy import select

from service_kit.database import Database, DatabaseUnavailable, interface, open_database
from service_kit.database.errors import is_transient
from service_kit.database.hosts import split
from service_kit.database.postgres import connect, notify, pool, sessions
from service_kit.database.postgres import database as postgres
from service_kit.database.postgres.connect import Connections
from service_kit.database.postgres.pool import AutocommitPool
from service_kit.database.prepared import PreparedValues
from tests.conftest import SERVICES, NewDatabase
from tests.service_kit.conftest import add, boxes, labels
from tests.system.database_proxy import DatabaseProxy, proxied

pytestmark = [pytest.mark.slow, pytest.mark.engine("postgresql")]

SHORT = 0.2
# Run by the driver alone, so that SQLAlchemy can't drop its connection.
LABELS = PreparedValues[str](select(boxes.c.label))


@pytest.fixture
def proxy(postgres_server: str) -> Iterator[DatabaseProxy]:
    with proxied(postgres_server) as proxy:
        yield proxy


@pytest.fixture
def proxied_url(database_url: str, proxy: DatabaseProxy) -> str:
    return proxy.url(database_url)


@pytest.fixture
async def database(proxied_url: str) -> AsyncIterator[Database]:
    opened = open_database(proxied_url, pool_size=2)
    await opened.open()
    yield opened
    await opened.close()


@contextmanager
def falls_mute(proxy: DatabaseProxy, *, at_once: bool = True) -> Iterator[None]:
    """Let nothing pass, now or when a test says so, and have nobody wait for it for long."""
    with pytest.MonkeyPatch.context() as patch, proxy.mute():
        proxy.is_mute = at_once
        patch.setattr(postgres, "WORK_SECONDS", SHORT)
        patch.setattr(connect, "CONNECT_SECONDS", SHORT)
        yield


async def silenced(proxy: DatabaseProxy) -> None:
    """Wait until something was said into the silence."""
    async with asyncio.timeout(10):
        while not proxy.silenced:  # noqa: ASYNC110 (it is told in another thread)
            await asyncio.sleep(0.01)


VERBS = ["read", "scan", "write", "write_autocommit"]


@pytest.mark.parametrize("verb", VERBS)
async def test_a_work_is_ended_and_the_next_one_succeeds(
    database: Database, proxy: DatabaseProxy, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await getattr(database, verb)(labels) == []
    with falls_mute(proxy):
        async with asyncio.timeout(10):
            with pytest.raises(DatabaseUnavailable):
                await getattr(database, verb)(labels)

    assert await database.write(add, "box")
    assert await getattr(database, verb)(labels) == ["box"]
    assert "PostgreSQL did not answer within 0.2 s; the connection is ended." in caplog.text


async def test_a_connection_that_answered_in_time_is_kept(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connect, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(postgres, "WORK_SECONDS", 0.5)
    database = open_database(database_url, pool_size=1)
    pool: AutocommitPool = database._pool  # type: ignore[attr-defined]

    async with pool.connection() as before:
        pass
    assert await database.read(labels) == []
    await asyncio.sleep(0.6)
    async with pool.connection() as after:
        pass

    assert before is after
    assert "did not answer" not in caplog.text
    await database.close()


async def test_a_commit_that_is_never_answered_is_of_unknown_outcome(
    database: Database, proxy: DatabaseProxy
) -> None:
    def fall_silent(when: str) -> None:
        proxy.is_mute = when == "after"

    with falls_mute(proxy, at_once=False):
        proxy.watch = fall_silent
        async with asyncio.timeout(10):
            with pytest.raises(DatabaseUnavailable):
                await database.write(add, "box")
        proxy.watch = lambda _: None

    assert await database.read(labels) == ["box"]


async def test_a_new_connection_is_not_waited_for_either(
    proxied_url: str, proxy: DatabaseProxy
) -> None:
    database = open_database(proxied_url)
    with falls_mute(proxy):
        async with asyncio.timeout(10):
            with pytest.raises(DatabaseUnavailable):
                await database.open()
    await database.open()
    await database.close()


async def test_of_several_hosts_a_silent_one_is_passed_over_by_the_next_try(
    proxied_url: str, proxy: DatabaseProxy, postgres_server: str
) -> None:
    with proxied(postgres_server) as other, falls_mute(proxy):
        hosts = [f"127.0.0.1:{one.server_address[1]}" for one in (proxy, other)]
        connections = Connections(split(proxied_url).with_hosts(*hosts), "test")
        with pytest.raises(TimeoutError):
            await connections.open()
        connection = await connections.open()
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


async def test_a_first_connection_that_falls_silent_is_not_waited_for(
    proxied_url: str, proxy: DatabaseProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLAlchemy asks its first connection about the server, before anybody is lent it."""
    opened = Connections.open

    async def open_then_fall_silent(self: Connections) -> object:
        connection = await opened(self)
        proxy.is_mute = True
        patch.setattr(connect, "CONNECT_SECONDS", SHORT)
        return connection

    database = open_database(proxied_url)
    with falls_mute(proxy, at_once=False), monkeypatch.context() as patch:
        patch.setattr(connect, "CONNECT_SECONDS", 2.0)
        patch.setattr(Connections, "open", open_then_fall_silent)
        async with asyncio.timeout(10):
            with pytest.raises(DatabaseUnavailable):
                await database.read(labels)
    assert await database.read(labels) == []
    await database.close()


async def test_a_ping_says_so_soon(
    database: Database, proxy: DatabaseProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy.mute(), monkeypatch.context() as patch:
        patch.setattr(interface, "PING_SECONDS", SHORT)
        async with asyncio.timeout(SHORT + 1):
            with pytest.raises(DatabaseUnavailable, match="does not answer"):
                await database.ping()
    await database.ping()


async def test_a_caller_that_goes_away_leaves_no_mute_connection_to_the_next(
    database: Database, proxy: DatabaseProxy
) -> None:
    with proxy.mute(), suppress(TimeoutError):
        async with asyncio.timeout(SHORT):
            await database.read(LABELS.all)

    async with asyncio.timeout(10):
        assert await database.read(LABELS.all) == []


async def test_a_session_that_has_ended_costs_one_caller_though_its_socket_stays_open(
    database: Database, proxy: DatabaseProxy
) -> None:
    async with database._pool.connection() as idle:  # type: ignore[attr-defined]
        pass
    its_socket = idle.driver._transport.get_extra_info("socket")
    proxy.say_ended(its_socket.getsockname())
    await heard(its_socket)

    with pytest.raises(DatabaseUnavailable):
        await database.write(add, "box")
    assert await database.write(add, "box")


async def heard(of_driver: socket.socket) -> None:
    """Wait until the driver has read what the server has said."""
    assert wait_until_readable([of_driver], [], [], 10)[0]
    while wait_until_readable([of_driver], [], [], 0)[0]:  # noqa: ASYNC110 (its reading is no event)
        await asyncio.sleep(0)


async def test_who_listens_for_commits_listens_again(
    database_url: str, proxy: DatabaseProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "PING_SECONDS", 0.1)
    monkeypatch.setattr(notify, "ANSWER_SECONDS", SHORT)
    monkeypatch.setattr(notify, "RECONNECT_SECONDS", 0.05)
    listening = open_database(proxy.url(database_url))
    other = open_database(database_url)
    await listening.open()
    await other.open()

    async def hears() -> None:
        heard = asyncio.ensure_future(listening.committed.next())
        while not heard.done():
            await other.write(labels)
            await asyncio.wait([heard], timeout=0.1)

    try:
        async with asyncio.timeout(30):
            await hears()
            with proxy.mute():
                await silenced(proxy)
            await hears()
    finally:
        await listening.close()
        await other.close()


async def test_a_close_does_not_wait_for_a_goodbye(
    proxied_url: str, proxy: DatabaseProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "CLOSE_SECONDS", SHORT)
    database = open_database(proxied_url)
    await database.open()
    await database.write(add, "box")
    with proxy.mute():
        async with asyncio.timeout(10):
            await database.close()


@pytest.mark.parametrize("verb", VERBS)
async def test_who_waits_is_told_at_once_when_the_service_has_to_end(
    database: Database, proxy: DatabaseProxy, verb: str
) -> None:
    with proxy.mute():
        # More than there are connections: one waits for its turn, others for a new connection.
        waiting = [asyncio.create_task(getattr(database, verb)(labels)) for _ in range(3)]
        await silenced(proxy)
        database.abort()
        async with asyncio.timeout(4):
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            await database.close()
    assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 3


def test_a_migration_is_ended(
    new_database: NewDatabase, proxy: DatabaseProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall_silent(_: str) -> None:
        proxy.is_mute = True

    monkeypatch.setattr(sessions, "WATCH_SECONDS", 0.05)
    url = new_database("crm_api")
    with falls_mute(proxy, at_once=False):
        proxy.watch = fall_silent
        with pytest.raises(DatabaseUnavailable):
            SERVICES["crm_api"].migrations().upgrade(proxy.url(url))


def test_a_start_waits_for_a_silent_server_as_for_one_that_starts(
    new_database: NewDatabase, proxy: DatabaseProxy
) -> None:
    url = new_database("crm_api")
    with falls_mute(proxy), pytest.raises(DatabaseUnavailable) as told:
        SERVICES["crm_api"].migrations().upgrade(proxy.url(url))

    assert is_transient(told.value)


async def test_a_migration_may_take_its_time(
    proxied_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = sessions._is_working
    looks: list[bool] = []

    async def look(connections: Connections) -> bool:
        looks.append(await looked(connections))
        return looks[-1]

    monkeypatch.setattr(sessions, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(sessions, "_is_working", look)
    asked = Connections(proxied_url, "a migration")
    connection = await asked.open()

    watch = asyncio.create_task(sessions.watch(asked, connection))
    assert await connection.fetchval("SELECT 'done' FROM pg_sleep(0.5)") == "done"

    watch.cancel()
    await connection.close()
    assert len(looks) > sessions.MISSES
    assert all(looks)
