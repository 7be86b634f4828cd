"""Uses every table of a service as its code knows it: `python -m tests.upgrades.walk SERVICE URL`.

It runs in the code of an older release, on the schema of a newer one, which must bear all of it.
"""

import asyncio
import sys
from importlib import import_module
from typing import Any

from sqlalchemy import Column, Connection, String, Table, delete, insert, select, update

from service_kit.database import open_database
from service_kit.process.cli import Service
from tests.copies.values import value_of

# The second one has nothing in each column that may be empty; the third is what they become.
FULL, SPARSE, CHANGED = 1_000_001, 1_000_002, 1_000_003
# Tables of one row, which is there.
SINGLE = {"feed_head", "poller"}


async def walk(service: str, url: str) -> None:
    tables = import_module(f"{service}.copies").CONTENTS.tables
    several = [table for table in tables if table.name not in SINGLE]
    database = open_database(url, service)
    await database.open()
    try:
        await database.write(Service(service, 1).migrations().check)
        for table in tables:
            await database.write(write_and_read if table in several else change_all, table)
        for table in reversed(several):
            await database.write(remove, table)
    finally:
        await database.close()


def write_and_read(db: Connection, table: Table) -> None:
    for n in (FULL, SPARSE):
        row = {column.name: longest(column, n) for column in table.c}
        db.execute(insert(table), row)
        [found] = db.execute(select(table).where(*with_key(table, n))).mappings()
        assert dict(found) == row, f"{table.name}: {dict(found)}, not {row}"
        db.execute(update(table).where(*with_key(table, n)).values(changes(table, n)))


def change_all(db: Connection, table: Table) -> None:
    kept = db.execute(select(table)).mappings().one()
    db.execute(update(table).values(dict(kept)))


def remove(db: Connection, table: Table) -> None:
    for n in (FULL, SPARSE):
        removed = db.execute(delete(table).where(*with_key(table, n)))
        assert removed.rowcount == 1, table.name


def with_key(table: Table, n: int) -> list[Any]:
    """Give the conditions by which the row of a number is found."""
    named = list(table.primary_key) or [next(column for column in table.c)]
    return [column == longest(column, n) for column in named]


def changes(table: Table, n: int) -> dict[str, Any]:
    """Give new values for what nothing refers to; for each of the rows another."""
    free = (column for column in table.c if not column.primary_key and not column.foreign_keys)
    return {column.name: longest(column, n + CHANGED) for column in free} or with_no_change(table)


def with_no_change(table: Table) -> dict[str, Any]:
    key = next(iter(table.c))
    return {key.name: key}


def longest(column: Column[Any], n: int) -> Any:
    """Give a value of a column, as long as it may be."""
    value = value_of(column, n)
    if isinstance(value, str) and isinstance(column.type, String) and column.type.length:
        return value.ljust(column.type.length, "x")
    return value


if __name__ == "__main__":
    asyncio.run(walk(*sys.argv[1:]))
