"""What a write, a read and a scan promise, whichever engine is below."""

import asyncio
import contextlib
import random
import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import Column, Connection, MetaData, Table, select, text
from sqlalchemy.exc import DBAPIError

from service_kit.database import Database, DatabaseUnavailable, open_database
from service_kit.database.types import UtcDateTime
from service_kit.process.logs import current_request_id, use_request_id
from tests.service_kit.conftest import LabelTaken, add, labels


class Broken(Exception):
    """What a work with a bug raises."""


def add_then_break(db: Connection, label: str) -> None:
    add(db, label)
    raise Broken(label)


def add_pair(db: Connection, name: str) -> None:
    add(db, f"{name}-left")
    add(db, f"{name}-right")


def count(db: Connection) -> int:
    number: int = db.execute(text("SELECT count(*) FROM boxes")).scalar_one()
    return number


async def seen_from_outside(url: str) -> set[str]:
    """Read the labels over a connection that the kit knows nothing of."""
    if url.startswith("sqlite:"):
        with contextlib.closing(sqlite3.connect(Path(url.removeprefix("sqlite:///")))) as other:
            return {label for (label,) in other.execute("SELECT label FROM boxes")}
    other = await asyncpg.connect(url)
    try:
        return {row["label"] for row in await other.fetch("SELECT label FROM boxes")}
    finally:
        await other.close()


@pytest.mark.parametrize("verb", ["read", "scan"])
async def test_what_was_written_is_read_at_once(database: Database, verb: str) -> None:
    for number in range(5):
        await database.write(add, f"box-{number}")
        assert (await getattr(database, verb)(labels))[-1] == f"box-{number}"


async def test_arguments_reach_the_work_by_position_and_by_name(database: Database) -> None:
    assert await database.write(add, "one", shelf=3) == 1
    assert await database.write(add, label="two") == 2
    assert await database.read(lambda db, *, wanted: labels(db)[wanted], wanted=1) == "two"


@pytest.mark.parametrize("verb", ["write", "write_autocommit"])
async def test_an_answer_comes_after_the_commit(
    database: Database, database_url: str, verb: str
) -> None:
    async def write_and_look(label: str) -> bool:
        await getattr(database, verb)(add, label)
        return label in await seen_from_outside(database_url)

    assert all(await asyncio.gather(*(write_and_look(f"box-{number}") for number in range(10))))


async def test_a_work_that_raises_changes_nothing(database: Database) -> None:
    with pytest.raises(Broken):
        await database.write(add_then_break, "box")

    assert await database.read(labels) == []
    assert await database.write(add, "box")


async def test_a_refusal_reaches_its_caller_as_it_was_raised(database: Database) -> None:
    await database.write(add, "box")

    with pytest.raises(LabelTaken):
        await database.write(add, "box")


async def test_works_that_fail_spoil_no_others(database: Database) -> None:
    def work(db: Connection, number: int) -> int:
        if number % 7 == 0:
            add_then_break(db, f"box-{number}")
        return add(db, "box-1" if number % 11 == 0 else f"box-{number}")

    await database.write(add, "box-1")
    numbers = range(2, 202)
    answers = await asyncio.gather(
        *(database.write(work, number) for number in numbers), return_exceptions=True
    )

    for number, answer in zip(numbers, answers, strict=True):
        wanted = Broken if number % 7 == 0 else LabelTaken if number % 11 == 0 else int
        assert isinstance(answer, wanted)
    kept = {f"box-{number}" for number in numbers if number % 7 and number % 11}
    assert set(await database.read(labels)) == kept | {"box-1"}


@pytest.mark.parametrize("verb", ["read", "scan", "write", "write_autocommit"])
async def test_a_work_may_raise_anything(database: Database, verb: str) -> None:
    with pytest.raises(RuntimeError):
        await asyncio.wait_for(getattr(database, verb)(lambda _: next(iter(()))), 5)

    assert await database.write(add, "box") == 1


@pytest.mark.parametrize("verb", ["read", "scan"])
async def test_a_reading_work_that_raises_leaves_its_connection_usable(
    database: Database, verb: str
) -> None:
    run = getattr(database, verb)
    for statement in ("SELECT nonsense", "SELECT * FROM nowhere"):
        with pytest.raises(Exception, match=r"nonsense|nowhere"):
            await run(lambda db, statement=statement: db.execute(text(statement)))

    assert await run(count) == 0


async def test_each_work_sees_the_request_it_belongs_to(database: Database) -> None:
    async def caller(name: str, verb: str) -> str:
        use_request_id(name)
        return await getattr(database, verb)(lambda _: current_request_id())

    names = [f"{verb}-{number}" for verb in ("read", "scan", "write") for number in range(5)]
    assert await asyncio.gather(*(caller(name, name.split("-")[0]) for name in names)) == names


async def test_a_caller_that_goes_away_leaves_all_of_its_change_or_nothing(
    database: Database, database_url: str
) -> None:
    chance = random.Random(7)

    async def caller(number: int) -> str:
        writing = asyncio.create_task(database.write(add_pair, f"box-{number}"))
        for _ in range(chance.choice([0, 1, 2, 5, 20])):
            await asyncio.sleep(0)
        if number % 2:
            writing.cancel()
        await asyncio.wait([writing])
        return "gone" if writing.cancelled() else "answered"

    fates = await asyncio.gather(*(caller(number) for number in range(100)))

    await database.close()
    seen = await seen_from_outside(database_url)
    kept = [{f"box-{number}-left", f"box-{number}-right"} & seen for number in range(100)]
    assert {len(pair) for pair in kept} <= {0, 2}
    assert all(pair for pair, fate in zip(kept, fates, strict=True) if fate == "answered")
    assert fates[::2] == ["answered"] * 50
    assert "gone" in fates


async def test_a_caller_that_goes_away_while_its_work_runs_leaves_all_of_it(
    database: Database, database_url: str
) -> None:
    caller: asyncio.Task[None]

    def work(db: Connection) -> None:
        add(db, "left")
        caller.cancel()
        add(db, "right")

    caller = asyncio.create_task(database.write(work))
    with pytest.raises(asyncio.CancelledError):
        await caller
    await database.close()

    assert await seen_from_outside(database_url) == {"left", "right"}


async def test_closing_finishes_what_was_accepted(database: Database, database_url: str) -> None:
    writes = [asyncio.create_task(database.write(add, f"box-{number}")) for number in range(50)]
    await asyncio.sleep(0)

    await database.close()

    assert await seen_from_outside(database_url) == {f"box-{number}" for number in range(50)}
    assert await asyncio.gather(*writes)


@pytest.mark.parametrize("verb", ["read", "scan", "write", "write_autocommit"])
async def test_a_closed_database_takes_no_more_work(database: Database, verb: str) -> None:
    await database.close()

    with pytest.raises(DatabaseUnavailable):
        await getattr(database, verb)(count)


async def test_closing_twice_or_unopened_is_nothing(database: Database, database_url: str) -> None:
    await database.close()
    await database.close()
    await open_database(database_url).close()


async def test_the_signal_is_set_once_a_commit_can_be_seen(
    database: Database, database_url: str
) -> None:
    for number in range(5):
        next_commit = database.committed.next()
        await database.read(labels)
        assert not next_commit.done()
        writing = asyncio.create_task(database.write(add, f"box-{number}"))
        await asyncio.wait_for(next_commit, 5)
        assert f"box-{number}" in await seen_from_outside(database_url)
        await writing


async def test_one_commit_wakes_everyone(database: Database) -> None:
    waiting = [database.committed.next() for _ in range(3)]

    await database.write(add, "box")

    assert all(one.done() for one in waiting)
    assert not database.committed.next().done()


async def test_instants_come_back_aware_and_in_utc(database: Database) -> None:
    tokyo = timezone(timedelta(hours=9))
    sent = [
        datetime(2026, 1, 5, 12, 0, 0, 123456, tzinfo=UTC),
        datetime(2026, 1, 5, 21, 0, tzinfo=tokyo),
    ]
    instants = Table("instants", MetaData(), Column("at", UtcDateTime, nullable=False))

    def work(db: Connection) -> list[datetime]:
        instants.create(db)
        db.execute(instants.insert(), [{"at": at} for at in sent])
        return list(db.execute(select(instants.c.at).order_by(instants.c.at)).scalars())

    found = await database.write(work)

    assert found == sorted(sent)
    assert {at.tzinfo for at in found} == {UTC}


async def test_an_instant_without_a_zone_is_refused(database: Database) -> None:
    instants = Table("instants", MetaData(), Column("at", UtcDateTime))

    with pytest.raises(Exception, match="needs a time zone"):
        await database.write(
            lambda db: db.execute(select(instants).where(instants.c.at == datetime(2026, 1, 5)))  # noqa: DTZ001
        )


async def test_an_error_of_the_database_does_not_tell_what_the_statement_was_given(
    database: Database,
) -> None:
    def fail(db: Connection) -> None:
        db.execute(text("SELECT :secret FROM nowhere_at_all"), {"secret": "jane@example.com"})

    with pytest.raises(DBAPIError) as failed:
        await database.write(fail)

    assert "nowhere_at_all" in str(failed.value)
    assert "jane" not in str(failed.value)
