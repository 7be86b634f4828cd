"""Counts by kind, on both engines, and how little of a table SQLite looks at for them."""

import sqlite3
from collections import Counter
from collections.abc import Sequence

import pytest
from sqlalchemy import Column, Connection, Index, Integer, MetaData, String, Table, delete, insert

from service_kit.database import Database
from service_kit.database.counting import KindCounts
from service_kit.database.sqlite.connect import driver

parcels = Table(
    "parcels",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("status", String(20), nullable=False),
    Column("size", String(20), nullable=False),
    Index("ix_parcels", "status", "size", "id"),
)
by_status = KindCounts(parcels.c.status)
by_both = KindCounts(parcels.c.status, parcels.c.size)

PACKED, SHIPPED, LOST = ("packed", "s"), ("shipped", "m"), ("lost", "l")


def keep(db: Connection, kinds: Sequence[tuple[str, str]]) -> None:
    parcels.create(db, checkfirst=True)
    db.execute(delete(parcels))
    if kinds:
        db.execute(insert(parcels), [{"status": one, "size": size} for one, size in kinds])


@pytest.mark.parametrize(
    "kinds",
    [
        [],
        [SHIPPED],
        [SHIPPED, SHIPPED, PACKED, LOST, SHIPPED],
        [LOST, SHIPPED, SHIPPED],
        [PACKED, SHIPPED, SHIPPED],
        # All that come before and behind a kind of two columns.
        [(status, size) for status in "bac" for size in "yxz" for _ in range(ord(size) % 3 + 1)],
        [("b", "y"), ("b", "x"), ("b", "z"), ("b", "y")],
    ],
)
async def test_each_kind_is_counted(database: Database, kinds: list[tuple[str, str]]) -> None:
    await database.write(keep, kinds)

    assert await database.read(by_both) == Counter(kinds)
    assert await database.read(by_status) == Counter((status,) for status, _ in kinds)


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_those_of_the_usual_kind_are_not_looked_at(database: Database) -> None:
    few = await steps(database, [SHIPPED] * 100 + [PACKED] * 20)
    many = await steps(database, [SHIPPED] * 5000 + [PACKED] * 20)
    other = await steps(database, [PACKED] + [SHIPPED] * 5000)

    assert many < few + 20
    assert other > many + 5000


async def steps(database: Database, kinds: list[tuple[str, str]]) -> int:
    """Return how many instructions SQLite's virtual machine needs to count them."""
    await database.write(keep, kinds)
    return await database.read(steps_of_counting)


def steps_of_counting(db: Connection) -> int:
    taken = 0

    def step() -> None:
        nonlocal taken
        taken += 1

    own: sqlite3.Connection = driver(db)
    own.set_progress_handler(step, 1)
    try:
        by_both(db)
    finally:
        own.set_progress_handler(None, 1)
    return taken
