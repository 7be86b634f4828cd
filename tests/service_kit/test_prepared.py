"""Prepared statements read and write just what SQLAlchemy Core would."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple

import pytest
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    insert,
    select,
)

from service_kit.database import Database, DatabaseUnavailable
from service_kit.database.postgres.database import PostgresDatabase
from service_kit.database.prepared import (
    ROWS_AT_ONCE,
    Prepared,
    PreparedInsertMissing,
    PreparedPages,
)
from service_kit.database.types import BigInt, UtcDateTime
from tests.conftest import run_sql
from tests.statements import before_each_statement

# Each is gone by then: PostgreSQL waits for its end, at most so many milliseconds.
END_OTHERS = (
    "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)

things = Table(
    "things",
    MetaData(),
    Column("id", BigInt, primary_key=True),
    Column("key", String(20), nullable=False, unique=True),
    Column("at", UtcDateTime, nullable=False),
    Column("data", JSON, nullable=False),
    Column("note", String(20)),
    Column("number", Integer),
    Column("gone_at", UtcDateTime),
    sqlite_autoincrement=True,
)


class Thing(NamedTuple):
    id: int
    key: str
    at: datetime
    data: Any
    note: str | None
    number: int | None
    gone_at: datetime | None


AT = datetime(2026, 1, 5, 13, 0, 0, 120, tzinfo=timezone(timedelta(hours=1)))
THING = {"key": "a'b", "at": AT, "data": {"ä": [1, None, "x"]}, "note": None, "number": -1}

_PAGE = select(things).where(things.c.id > bindparam("after")).order_by(things.c.id).limit(2)
ADD = PreparedInsertMissing(things)
PAGE = Prepared(Thing, _PAGE)
PAGES = PreparedPages(Thing, select(things), things.c.id)


def named(key: str) -> dict[str, Any]:
    return {**THING, "key": key}


def make(db: Connection) -> None:
    things.create(db, checkfirst=True)


def core(db: Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in db.execute(_PAGE, {"after": 0})]


@pytest.fixture
async def kept(database: Database) -> Database:
    await database.write(make)
    return database


async def test_many_rows_share_what_is_the_same_for_all(kept: Database) -> None:
    rows = [{"key": "one", "number": 1}, {"key": "two"}]

    await kept.write(lambda db: ADD.each(db, rows, at=AT, data=[]))

    one, two = await kept.read(PAGE.all, after=0)
    assert (one.key, one.number, two.key, two.number) == ("one", 1, "two", None)
    assert one.at == two.at == AT
    assert one.data == two.data == []


async def test_what_is_written_one_way_is_read_the_other(kept: Database) -> None:
    made = await kept.write(lambda db: ADD.one(db, **named("prepared")))
    await kept.write(lambda db: db.execute(insert(things), named("core")) and None)

    rows = await kept.read(PAGE.all, after=0)

    assert [tuple(row) for row in rows] == await kept.read(core)
    assert made == rows[0].id
    for row, key in zip(rows, ("prepared", "core"), strict=True):
        expected = (key, AT, THING["data"], None, -1, None)
        assert (row.key, row.at, row.data, row.note, row.number, row.gone_at) == expected
        assert row.at.tzinfo is UTC or row.at.utcoffset() == timedelta(0)


async def test_a_row_that_a_constraint_refuses_is_left_out(kept: Database) -> None:
    await kept.write(ADD.each, [named("one"), named("two"), named("one")])

    assert await kept.write(lambda db: ADD.one(db, **named("two"))) is None
    assert [row.key for row in await kept.read(PAGE.all, after=0)] == ["one", "two"]


async def test_it_is_part_of_its_transaction(kept: Database) -> None:
    def fail(db: Connection) -> None:
        ADD.each(db, [named("one")])
        raise LookupError

    with pytest.raises(LookupError):
        await kept.write(fail)

    assert await kept.read(PAGE.first, after=0) is None


@pytest.mark.parametrize(
    ("work", "error"),
    [
        (PAGE.all, KeyError),
        (lambda db: ADD.each(db, [{"key": "a", "at": AT}]), KeyError),
        (lambda db: ADD.each(db, [{**THING, "at": datetime(2026, 1, 5)}]), ValueError),  # noqa: DTZ001
    ],
    ids=["no parameter", "no value", "no time zone"],
)
async def test_what_is_missing_is_a_mistake(
    kept: Database, work: Callable[[Connection], Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await kept.write(work)


async def test_a_test_sees_each_prepared_statement(kept: Database) -> None:
    heard: list[str] = []

    def listen(db: Connection) -> None:
        with before_each_statement(heard.append, db):
            PAGE.all(db, after=0)

    await kept.read(listen)

    assert len(heard) == 1
    assert "FROM things" in heard[0]


@pytest.mark.engine("postgresql")
async def test_a_connection_that_is_gone_is_not_used_again(
    kept: PostgresDatabase, database_url: str
) -> None:
    assert await kept.read(PAGE.all, after=0) == []
    run_sql(database_url, END_OTHERS)

    with pytest.raises(DatabaseUnavailable):
        await kept.read(PAGE.all, after=0)
    assert await kept.read(PAGE.all, after=0) == []


@pytest.mark.parametrize("number", [ROWS_AT_ONCE - 1, ROWS_AT_ONCE, 2 * ROWS_AT_ONCE + 1])
async def test_many_rows_are_inserted_in_their_order_without_those_that_are_there(
    kept: Database, number: int
) -> None:
    await kept.write(ADD.each, [named("7")])

    await kept.write(ADD.each, [named(str(n)) for n in range(number)])

    rows = await kept.read(lambda db: db.execute(select(things.c.key).order_by(things.c.id)).all())
    keys = [row.key for row in rows]
    assert keys == ["7", *(str(n) for n in range(number) if n != 7)]


@pytest.mark.parametrize("ascending", [True, False])
async def test_pages_follow_each_other_either_way(kept: Database, ascending: bool) -> None:
    keys = ["0", "1", "2", "3", "4"]
    await kept.write(ADD.each, [named(key) for key in keys])

    pages: list[list[Thing]] = []
    for _ in range(3):
        after = pages[-1][-1].id if pages else None
        pages.append(await kept.read(PAGES.page, after, 2, ascending=ascending))

    assert [row.key for page in pages for row in page] == keys[:: 1 if ascending else -1]


def test_a_row_whose_fields_are_not_the_columns_in_their_order_is_refused() -> None:
    with pytest.raises(TypeError, match="Thing has"):
        Prepared(Thing, select(things.c.key, things.c.id))
