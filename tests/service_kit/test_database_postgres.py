"""What PostgreSQL brings with it: conflicts, connections that break, limits, settings."""

import asyncio
import time
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack
from select import select as wait_until_readable
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection, select, text

from service_kit.database import (
    DatabaseBusy,
    DatabaseUnavailable,
    DurabilityMissing,
    open_database,
)
from service_kit.database.interface import log_failure
from service_kit.database.postgres import connect, notify, pool, sessions
from service_kit.database.postgres import database as postgres
from service_kit.database.postgres.connect import Connections
from service_kit.database.postgres.database import PostgresDatabase, is_outdated
from service_kit.database.postgres.notify import CommitNotifier
from service_kit.database.prepared import PreparedValues
from tests.conftest import run_sql, with_database
from tests.service_kit.conftest import TABLES, Work, add, boxes, labels

pytestmark = pytest.mark.engine("postgresql")

SHELVES = PreparedValues[int](select(boxes.c.shelf))
GIVE_WAY = "DO $$ BEGIN RAISE EXCEPTION 'give way' USING ERRCODE = '{}'; END $$"
# Each is gone by then: PostgreSQL waits for its end, at most so many milliseconds.
END_OTHERS = (
    "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


class GivesWay:
    """A work whose transaction PostgreSQL rolls back for another's sake, some times."""

    def __init__(self, times: int, state: str = "40001") -> None:
        self.left = times
        self.state = state
        self.runs = 0

    def __call__(self, db: Connection) -> int:
        self.runs += 1
        number = add(db, "box")
        if self.left:
            self.left -= 1
            db.execute(text(GIVE_WAY.format(self.state)))
        return number


@pytest.fixture
def own_database(postgres_server: str) -> Iterator[str]:
    """Give the URL of a database whose settings a test may change."""
    name = f"own_{uuid.uuid4().hex[:8]}"
    run_sql(postgres_server, f"CREATE DATABASE {name}")
    yield with_database(postgres_server, name)
    run_sql(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


def configure(url: str, setting: str, value: str) -> None:
    """Change a setting of a database, as its administrator would."""
    run_sql(
        url,
        "DO $$ BEGIN EXECUTE format("
        f"'ALTER DATABASE %I SET {setting} = %L', current_database(), '{value}'); END $$",
    )


async def assert_all_are_back(database: PostgresDatabase) -> None:
    """Borrow all five connections at once, which takes no time when nobody has one."""
    async with asyncio.timeout(1), AsyncExitStack() as lent:
        for _ in range(5):
            await lent.enter_async_context(database._pool.connection())


def shelves(db: Connection) -> list[int]:
    return list(db.execute(text("SELECT shelf FROM boxes ORDER BY shelf")).scalars())


@pytest.mark.parametrize(("verb", "number"), [("write", 1), ("write_autocommit", 2)])
async def test_a_statement_may_be_the_transaction(
    database: PostgresDatabase, verb: str, number: int
) -> None:
    def transactions(db: Connection) -> set[str]:
        return {
            db.execute(text("SELECT pg_current_xact_id()::text")).scalar_one() for _ in range(2)
        }

    assert len(await getattr(database, verb)(transactions)) == number


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_a_work_that_has_to_give_way_is_run_again(
    database: PostgresDatabase, state: str
) -> None:
    work = GivesWay(2, state)

    assert await database.write(work)

    assert work.runs == 3
    assert await database.read(labels) == ["box"]


async def test_a_work_that_always_has_to_give_way_is_told_so(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "CONFLICT_TRIES", 3)
    work = GivesWay(10)

    with pytest.raises(DatabaseBusy):
        await database.write(work)

    assert work.runs == 3
    assert await database.read(labels) == []


async def test_works_that_contradict_each_other_all_succeed_one_after_another(
    database: PostgresDatabase,
) -> None:
    tries = 0

    def take_next_shelf(db: Connection) -> None:
        nonlocal tries
        tries += 1
        label = f"box-{tries}"  # now, for others run while this one waits for its statements
        db.execute(text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
        shelf = db.execute(text("SELECT count(*) FROM boxes")).scalar_one()
        add(db, label, shelf)

    await asyncio.gather(*(database.write(take_next_shelf) for _ in range(4)))

    assert await database.read(shelves) == [0, 1, 2, 3]
    assert tries > 4


async def test_works_that_lock_each_other_out_all_succeed(own_database: str) -> None:
    runs = 0

    def touch(db: Connection, first: int, then: int) -> None:
        nonlocal runs
        runs += 1
        change = text("UPDATE boxes SET shelf = shelf + 1 WHERE id = :id")
        db.execute(change, {"id": first})
        db.execute(text("SELECT pg_sleep(0.02)"))
        db.execute(change, {"id": then})

    run_sql(own_database, TABLES["postgresql"])
    run_sql(own_database, "INSERT INTO boxes (label, shelf) VALUES ('one', 0), ('two', 0)")
    configure(own_database, "deadlock_timeout", "5ms")
    database = open_database(own_database, pool_size=5)
    await database.open()

    orders = [(1, 2), (2, 1)] * 5
    await asyncio.gather(*(database.write(touch, *order) for order in orders))

    assert await database.read(shelves) == [10, 10]
    assert runs > 10, "no deadlock happened"
    await database.close()


async def test_commits_are_announced_once_and_not_to_oneself(
    database: PostgresDatabase, database_url: str
) -> None:
    count, heard = 0, asyncio.Event()

    def on_notify(*_: object) -> None:
        nonlocal count
        count += 1
        heard.set()

    other = await asyncpg.connect(database_url)
    await other.add_listener(notify.CHANNEL, on_notify)

    await database.write(add, "box")
    own = database.committed.next()
    await asyncio.wait_for(heard.wait(), 5)
    await asyncio.sleep(10 * notify.PAUSE_SECONDS)

    assert count == 1
    assert not own.done()
    await other.close()


async def test_a_write_that_is_refused_is_no_news(database: PostgresDatabase) -> None:
    next_commit = database.committed.next()
    with pytest.raises(LookupError):
        await database.write(lambda _: {}["nothing"])

    assert not next_commit.done()


@pytest.mark.parametrize("verb", ["read", "scan", "write"])
async def test_a_connection_that_breaks_in_a_work_is_replaced(
    database: PostgresDatabase, verb: str
) -> None:
    def end_myself(db: Connection) -> None:
        db.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(DatabaseUnavailable):
        await getattr(database, verb)(end_myself)

    assert await database.write(add, "box") == 1
    await assert_all_are_back(database)


async def test_connections_are_made_after_one_broke_and_the_clock_was_set_back(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLAlchemy's pool would take each new one for older than the failure, and make it again."""
    with pytest.raises(DatabaseUnavailable):
        await database.read(
            lambda db: db.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        )
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)

    assert await database.read(labels) == []


async def test_with_a_connection_that_breaks_the_idle_ones_go_too(
    database: PostgresDatabase,
) -> None:
    lend = database._pool.connection
    async with lend() as one, lend() as other:
        pass

    async with lend() as broken:
        broken.driver.terminate()

    assert one.driver.is_closed()
    assert other.driver.is_closed()


async def test_an_idle_connection_that_broke_is_not_lent(database: PostgresDatabase) -> None:
    async with database._pool.connection() as idle:
        pass
    idle.driver.terminate()

    assert await database.read(labels) == []


async def test_a_connection_in_use_is_closed_after_the_pool(
    database: PostgresDatabase,
) -> None:
    async with database._pool.connection() as lent:
        await database.close()
        assert not lent.driver.is_closed()

    assert lent.driver.is_closed()


async def test_after_a_write_that_failed_one_has_to_succeed(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading goes on when a disk is full, and still this is no database to send changes to."""

    def fail(db: Connection) -> None:
        db.execute(text("DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$"))

    with pytest.raises(DatabaseUnavailable):
        await database.write(fail)
    with monkeypatch.context() as patch:
        patch.setattr(database, "_trial_write", fail)
        with pytest.raises(DatabaseUnavailable):
            await database.ping()

    await database.ping()


@pytest.mark.parametrize("verb", ["read", "write"])
async def test_connections_that_broke_unused_cost_one_caller_at_most(
    database: PostgresDatabase, database_url: str, verb: str
) -> None:
    before = await asyncio.gather(*(database.write(who_am_i) for _ in range(5)))
    run_sql(database_url, END_OTHERS)

    answers = [
        (await asyncio.gather(getattr(database, verb)(who_am_i), return_exceptions=True))[0]
        for _ in range(5)
    ]

    assert isinstance(answers[0], int | DatabaseUnavailable)
    assert all(isinstance(answer, int) for answer in answers[1:])
    assert not {*before} & {*answers}


def wait_long(db: Connection) -> None:
    db.execute(text("SELECT pg_sleep(30)"))


def dawdle(db: Connection) -> None:
    """Hold a transaction without a word until the server has one, as a work must not."""
    add(db, "soon")
    driver: Any = db.connection.driver_connection
    server = driver._transport.get_extra_info("socket")
    assert wait_until_readable([server], [], [], 20)[0]
    add(db, "late")


@pytest.mark.parametrize(
    ("limit", "work"),
    [("statement_timeout", wait_long), ("idle_in_transaction_session_timeout", dawdle)],
)
async def test_a_work_may_not_take_for_ever(
    database_url: str, limit: str, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The write that follows must keep within it too, on a slow machine as well.
    monkeypatch.setitem(connect.SESSION, limit, "500")
    database = open_database(database_url, pool_size=2)
    await database.open()

    with pytest.raises(DatabaseUnavailable):
        await asyncio.wait_for(database.write(work), 20)

    assert await database.write(add, "box")
    assert await database.read(labels) == ["box"]
    await database.close()


async def test_a_work_does_not_wait_for_a_lock_for_ever(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connect.SESSION, "lock_timeout", "50")
    database = open_database(database_url, pool_size=2)
    await database.open()

    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("LOCK TABLE boxes")
        with pytest.raises(DatabaseUnavailable):
            await database.write(add, "box")
    await other.close()

    assert await database.write(add, "box")
    await database.close()


async def test_a_process_that_stopped_within_a_statement_does_not_keep_its_locks(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(connect.SESSION, "lock_timeout", "50")
    monkeypatch.setattr(sessions, "STALLED_SECONDS", 0.05)
    database = open_database(database_url, "boxes", pool_size=2)
    await database.open()
    stopped = await Connections(database_url, "boxes").open()
    by_hand = await asyncpg.connect(database_url)  # as somebody's script does, without a name
    for connection, begun in ((stopped, "LOCK TABLE boxes"), (by_hand, "CREATE TEMP TABLE a ()")):
        await connection.execute("BEGIN")
        await connection.execute("CREATE TEMP TABLE b ()")
        await connection.execute(begun)
        # The first half of a statement: the driver sends its parts, and later its end.
        await connection.prepare("SELECT 1")

    with pytest.raises(DatabaseUnavailable):
        await database.write(add, "box")

    assert await database.write(add, "box")
    assert "stopped responding: 1." in caplog.text
    with pytest.raises((asyncpg.InterfaceError, asyncpg.InternalClientError)):
        await stopped.execute("COMMIT")
    await by_hand.execute("COMMIT")
    await by_hand.close()
    await database.close()


async def test_a_caller_waits_for_a_connection_but_not_for_ever(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "POOL_SECONDS", 0.05)
    monkeypatch.setitem(connect.SESSION, "statement_timeout", "500")
    database = open_database(database_url, pool_size=2)
    await database.open()
    slow = [asyncio.create_task(database.read(wait_long)) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(DatabaseBusy):
        await database.read(labels)

    await asyncio.gather(*slow, return_exceptions=True)
    assert await database.read(labels) == []
    await database.close()


async def test_callers_that_go_away_take_no_connection_with_them(
    database: PostgresDatabase,
) -> None:
    verbs = [database.read, database.write, database.scan]
    callers = [asyncio.create_task(verbs[number % 3](labels)) for number in range(200)]
    for number, caller in enumerate(callers):
        asyncio.get_running_loop().call_later(number / 2000, caller.cancel)
    await asyncio.wait(callers)

    assert any(caller.cancelled() for caller in callers)
    assert await asyncio.gather(*(database.write(add, f"box-{number}") for number in range(20)))
    await assert_all_are_back(database)


async def test_a_server_that_may_forget_commits_is_refused(own_database: str) -> None:
    configure(own_database, "synchronous_commit", "off")
    database = open_database(own_database)

    with pytest.raises(DurabilityMissing, match="synchronous_commit"):
        await database.open()

    await database.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:secret@127.0.0.1:1/nowhere",
        "postgresql+psycopg://u:secret@127.0.0.1:1/nowhere",
    ],
)
async def test_a_server_that_is_not_there_is_unavailable(url: str) -> None:
    database = open_database(url)

    with pytest.raises(DatabaseUnavailable):
        await database.open()

    await database.close()


async def test_a_database_that_is_not_there_is_unavailable(postgres_server: str) -> None:
    database = open_database(with_database(postgres_server, "nowhere"))

    with pytest.raises(DatabaseUnavailable):
        await database.open()

    await database.close()


async def test_a_database_that_is_closed_to_connections_is_unavailable(
    postgres_server: str,
) -> None:
    name = f"closed_{uuid.uuid4().hex[:8]}"
    run_sql(postgres_server, f"CREATE DATABASE {name} ALLOW_CONNECTIONS false")
    database = open_database(with_database(postgres_server, name))
    with pytest.raises(DatabaseUnavailable):
        await database.ping()

    run_sql(postgres_server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    await database.ping()
    await database.close()


async def test_a_server_that_comes_back_is_used_again(postgres_server: str) -> None:
    name = f"later_{uuid.uuid4().hex[:8]}"
    database = open_database(with_database(postgres_server, name))
    with pytest.raises(DatabaseUnavailable):
        await database.ping()

    run_sql(postgres_server, f"CREATE DATABASE {name}")

    await database.ping()
    await database.close()


async def test_whoever_waits_for_a_connection_is_served_in_turn(
    database: PostgresDatabase,
) -> None:
    """The pool gives a connection that comes free to whoever asks next, not to who waits."""
    order: list[int] = []

    def note(db: Connection, number: int) -> None:
        db.execute(text("SELECT 1"))
        order.append(number)

    async def read(number: int) -> None:
        await database.read(note, number)
        if number < 20:
            await read(number + 100)  # at once again, before those who wait get to run

    await asyncio.gather(*map(read, range(30)))

    # Five at a time, so that four of the first may be noted after one of the others.
    assert max(order[:26]) < 30
    assert len(order) == 50


def who_am_i(db: Connection) -> int:
    number: int = db.execute(text("SELECT pg_backend_pid()")).scalar_one()
    return number


async def test_reads_and_writes_share_the_connections_that_there_may_be(database_url: str) -> None:
    database = open_database(database_url, pool_size=2)
    await database.open()

    for _ in range(3):
        readers = await asyncio.gather(*(database.read(who_am_i) for _ in range(8)))
        writers = await asyncio.gather(*(database.write(who_am_i) for _ in range(8)))
        assert len(set(readers)) == 2
        assert set(readers) == set(writers)

    await database.close()


async def test_a_reader_that_goes_away_leaves_its_connection_usable(
    database: PostgresDatabase,
) -> None:
    reader = asyncio.create_task(database.read(wait_long))
    await asyncio.sleep(0.1)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)

    assert reader.cancelled()
    assert await database.write(add, "box")
    assert await database.read(labels) == ["box"]
    await assert_all_are_back(database)


def prepared_labels(db: Connection) -> list[int]:
    return SHELVES.all(db)


def core_labels(db: Connection) -> list[int]:
    return list(db.execute(select(boxes.c.shelf)).scalars())


@pytest.mark.parametrize("look", [prepared_labels, core_labels])
@pytest.mark.parametrize("verb", ["read", "write", "write_autocommit"])
async def test_a_column_whose_type_is_changed_under_it_costs_nobody_an_error(
    database: PostgresDatabase,
    database_url: str,
    verb: str,
    look: Work,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outdated = 0

    def note(error: BaseException) -> bool:
        nonlocal outdated
        outdated += is_outdated(error)
        return is_outdated(error)

    monkeypatch.setattr(postgres, "is_outdated", note)
    run = getattr(database, verb)
    await database.write(add, "box", 7)
    # Five connections, each of which has prepared the statement.
    before = await asyncio.gather(*(run(look) for _ in range(20)))
    sessions_before = await asyncio.gather(*(database.read(who_am_i) for _ in range(5)))

    run_sql(database_url, "ALTER TABLE boxes ALTER COLUMN shelf TYPE BIGINT")

    after = [await run(look) for _ in range(10)]
    sessions_after = await asyncio.gather(*(database.read(who_am_i) for _ in range(5)))
    assert before == [[7]] * 20
    assert after == [[7]] * 10
    await assert_all_are_back(database)
    # Outside of a transaction the driver prepares its own statements anew, unasked.
    assert outdated > 0 or (look is prepared_labels and verb != "write")
    assert not outdated or not {*sessions_before} & {*sessions_after}


async def test_connections_carry_the_name_of_their_service(database_url: str) -> None:
    def name(db: Connection) -> str:
        return str(db.execute(text("SHOW application_name")).scalar_one())

    database = open_database(database_url, "boxes")
    assert await database.read(name) == "boxes"
    await database.close()

    separator = "&" if "?" in database_url else "?"
    database = open_database(f"{database_url}{separator}application_name=shelves", "boxes")
    assert await database.read(name) == "shelves"
    await database.close()


async def test_a_listener_that_ends_by_itself_is_told(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(CommitNotifier, "_next_statement", fail)
    database = open_database(database_url)
    ended = asyncio.Event()
    database.on_failure = lambda task: (log_failure(task), ended.set())[1]
    await database.open()
    async with asyncio.timeout(10):
        await ended.wait()

    for use in (database.ping(), database.write(labels)):
        with pytest.raises(DatabaseUnavailable, match="has failed"):
            await use
    assert "The listener for commits of other processes has ended by itself." in caplog.text
    await database.close()
