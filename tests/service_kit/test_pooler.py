"""A pooler between a service and PostgreSQL, as far as a proxy can play one, and a standby.

tests/machines has the real PgBouncer.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from sqlalchemy import Connection, select

from service_kit.database import Database, DatabaseUnavailable, open_database
from service_kit.database.errors import is_transient, reason
from service_kit.database.hosts import split
from service_kit.database.postgres import connect, notify
from service_kit.database.postgres.connect import Connections
from service_kit.database.postgres.direct_url import refuse_unfit
from service_kit.database.prepared import PreparedValues
from tests.conftest import SERVICES, run_sql, with_database
from tests.service_kit.conftest import LabelTaken, add, boxes, labels
from tests.system.database_proxy import DatabaseProxy, proxied

pytestmark = [pytest.mark.slow, pytest.mark.engine("postgresql")]

VERBS = ["read", "scan", "write", "write_autocommit"]
# Run by the driver alone.
LABELS = PreparedValues[str](select(boxes.c.label))
SHELVES = PreparedValues[int](select(boxes.c.shelf))


@pytest.fixture
def proxy(postgres_server: str) -> Iterator[DatabaseProxy]:
    with proxied(postgres_server) as proxy:
        proxy.pools = True
        yield proxy


@pytest.fixture
async def pooled(database_url: str, proxy: DatabaseProxy) -> AsyncIterator[Database]:
    opened = open_database(proxy.url(database_url), "boxes", pool_size=2)
    await opened.open()
    yield opened
    await opened.close()


def shown(db: Connection) -> list[str]:
    return [db.exec_driver_sql(f"SHOW {name}").scalar_one() for name in connect.SESSION]


@pytest.mark.parametrize("verb", VERBS)
async def test_limits_hold_in_a_transaction_and_in_no_session(pooled: Database, verb: str) -> None:
    assert await getattr(pooled, verb)(shown) == ["10s", "5s", "10s"]

    async with pooled._pool.connection() as connection:  # type: ignore[attr-defined]
        outside = [await connection.driver.fetchval(f"SHOW {name}") for name in connect.SESSION]
    assert outside == ["0", "0", "0"]


@pytest.mark.parametrize("verb", VERBS)
async def test_nothing_stays_prepared(pooled: Database, verb: str) -> None:
    def work(db: Connection) -> list[str]:
        LABELS.all(db)
        return labels(db)

    await getattr(pooled, verb)(work)
    await getattr(pooled, verb)(work)

    async with pooled._pool.connection() as connection:  # type: ignore[attr-defined]
        names = await connection.driver.fetch("SELECT name FROM pg_prepared_statements")
    assert [name for (name,) in names if name] == []


@pytest.mark.parametrize("verb", VERBS)
async def test_a_column_whose_type_is_changed_is_read_as_it_is(
    database_url: str, pooled: Database, verb: str
) -> None:
    def shelves(db: Connection) -> list[int]:
        return [*SHELVES.all(db), *db.execute(select(boxes.c.shelf)).scalars()]

    await pooled.write(add, "box", 7)
    assert await getattr(pooled, verb)(shelves) == [7, 7]

    run_sql(database_url, "ALTER TABLE boxes ALTER COLUMN shelf TYPE BIGINT")

    assert await getattr(pooled, verb)(shelves) == [7, 7]


async def test_a_work_that_fails_leaves_nothing_and_no_open_transaction(pooled: Database) -> None:
    def add_two(db: Connection) -> None:
        add(db, "box")
        add(db, "box")

    for verb in VERBS:
        with pytest.raises(LabelTaken):
            await getattr(pooled, verb)(add_two)
    assert await pooled.read(labels) == []


async def test_nobody_listens_through_a_pooler(
    database_url: str, pooled: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with asyncio.timeout(10):
        while "PostgreSQL is behind a pooler" not in caplog.text:  # noqa: ASYNC110 (a log is no event)
            await asyncio.sleep(0.01)

    next_commit = pooled.committed.next()
    await pooled.write(add, "box")

    assert next_commit.done()  # one's own commits are known
    other = await asyncpg.connect(database_url)
    statements = await other.fetch("SELECT query FROM pg_stat_activity WHERE query ~ '^LISTEN'")
    await other.close()
    assert statements == []


async def test_the_log_says_so_once(
    database_url: str,
    proxy: DatabaseProxy,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened, times = Connections.open, 0

    async def count(self: Connections) -> asyncpg.Connection:
        nonlocal times
        times += 1
        return await opened(self)

    monkeypatch.setattr(Connections, "open", count)
    monkeypatch.setattr(notify, "POOLED_SECONDS", 0.01)
    caplog.set_level(logging.INFO)
    database = open_database(proxy.url(database_url))
    await database.open()
    async with asyncio.timeout(10):
        while times < 4:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.01)
    await database.close()

    assert caplog.text.count("PostgreSQL is behind a pooler") == 1


async def test_with_a_direct_url_others_are_heard(database_url: str, proxy: DatabaseProxy) -> None:
    both = [open_database(proxy.url(database_url), direct_url=database_url) for _ in range(2)]
    for one in both:
        await one.open()
    hearing, other = both

    async with asyncio.timeout(30):
        heard = asyncio.ensure_future(hearing.committed.next())
        while not heard.done():
            await other.write(labels)
            await asyncio.wait([heard], timeout=0.1)
    for one in both:
        await one.close()


async def test_a_pooler_that_comes_later_is_found_too(
    database_url: str, proxy: DatabaseProxy
) -> None:
    proxy.pools = False
    connections = Connections(proxy.url(database_url), "test")
    before = await connections.open()
    proxy.pools = True
    after = await connections.open()

    assert [connections.is_pooled(one) for one in (before, after)] == [False, True]
    for connection in (before, after):
        await connection.close()


def test_a_direct_url_must_lead_to_the_same_database(
    database_url: str, postgres_server: str, proxy: DatabaseProxy
) -> None:
    run_sql(postgres_server, "CREATE DATABASE another")
    pooled = proxy.url(database_url)

    refuse_unfit(pooled, database_url)
    with pytest.raises(DatabaseUnavailable) as refused:
        refuse_unfit(pooled, with_database(postgres_server, "another"))
    assert "name different databases" in reason(refused.value)
    with pytest.raises(DatabaseUnavailable) as refused:
        refuse_unfit(pooled, pooled)
    assert "leads through a pooler too" in reason(refused.value)


async def test_a_connection_to_a_standby_is_not_used_again(database: Database) -> None:
    async with database._pool.connection() as connection:  # type: ignore[attr-defined]
        # It answers then as a standby does.
        await connection.driver.execute("SET default_transaction_read_only = on")

    with pytest.raises(DatabaseUnavailable):
        await database.write(add, "box")
    assert await database.write(add, "box")


def test_while_none_of_several_hosts_takes_writes_a_start_waits(
    postgres_server: str,
) -> None:
    """The driver says so by an error of its own, which is taken for a database that is away."""
    run_sql(postgres_server, "CREATE DATABASE only_read")
    run_sql(postgres_server, "ALTER DATABASE only_read SET default_transaction_read_only = on")
    with proxied(postgres_server) as one, proxied(postgres_server) as other:
        url = one.url(with_database(postgres_server, "only_read"))
        hosts = [f"127.0.0.1:{proxy.server_address[1]}" for proxy in (one, other)]
        with pytest.raises(DatabaseUnavailable) as refused:
            SERVICES["crm_api"].migrations().upgrade(split(url).with_hosts(*hosts))

    assert is_transient(refused.value)
