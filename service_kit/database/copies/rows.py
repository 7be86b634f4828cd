"""Reads whole tables in the order of their keys, hashes them, and writes them elsewhere."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic_core import to_json
from sqlalchemy import Column, ColumnElement, Connection, Row, String, Table, func, select, text

from service_kit.database.copies import counters
from service_kit.database.copies.contents import Advance, CopyFailed, Show
from service_kit.database.prepared import PreparedChange

# So many are in memory at once.
ROWS_AT_ONCE = 1000


class Digest(NamedTuple):
    """How many rows a table has, and the SHA-256 over all of them in the order of their keys."""

    rows: int
    sha256: str


Digests = Mapping[str, Digest]


def count(db: Connection, tables: Sequence[Table]) -> int:
    return sum(db.execute(select(func.count()).select_from(one)).scalar_one() for one in tables)


def digests(db: Connection, tables: Sequence[Table], advance: Advance) -> Digests:
    """Hash tables as they are."""
    return {table.name: _digest(db, table, advance) for table in tables}


def copy(source: Connection, target: Connection, tables: Sequence[Table], show: Show) -> None:
    """Replace all rows of the target by those of the source, and its counters of ids."""
    _empty(target, tables)
    with show("rows", count(source, tables)) as advance:
        for table in tables:
            names = [column.name for column in _columns(table)]
            insert = PreparedChange(table.insert(), columns=names)
            for rows in _read(source, table):
                insert.each(target, [dict(zip(names, row, strict=True)) for row in rows])
                advance(len(rows))
    # Behind the rows: a number that is handed out meanwhile on PostgreSQL is not taken back.
    counters.write(target, tables, counters.read(source, tables))


def refuse_different(
    source: Connection, target: Connection, tables: Sequence[Table], show: Show
) -> None:
    """Raise CopyFailed unless the target has the rows of the source."""
    with show("rows compared", 2 * count(source, tables)) as advance:
        written, found = (digests(db, tables, advance) for db in (source, target))
    if names := sorted(table.name for table in tables if written[table.name] != found[table.name]):
        raise CopyFailed(f"other rows were found than were written, in {', '.join(names)}")


def _digest(db: Connection, table: Table, advance: Advance) -> Digest:
    number, found = 0, hashlib.sha256()
    for rows in _read(db, table):
        for row in rows:
            found.update(to_json([_plain(value) for value in row]))
            found.update(b"\n")
        number += len(rows)
        advance(len(rows))
    return Digest(number, found.hexdigest())


def _read(db: Connection, table: Table) -> Iterator[Sequence[Row[*tuple[Any, ...]]]]:
    """Read a table a part at a time: the engine's own cursor, which sorts once if at all."""
    keys = [_bytewise(db, column) for column in table.primary_key]
    options = {"yield_per": ROWS_AT_ONCE}
    statement = select(*_columns(table)).order_by(*keys)
    yield from db.execute(statement, execution_options=options).partitions()


def _columns(table: Table) -> list[Column[Any]]:
    """List columns by name: their order tells when a column was added, not what is in it."""
    return sorted(table.c, key=lambda column: column.name)


def _bytewise(db: Connection, column: Column[Any]) -> ColumnElement[Any]:
    """Sort texts by their bytes, as SQLite does, whatever the language of the PostgreSQL."""
    if db.dialect.name == "postgresql" and isinstance(column.type, String):
        return column.collate("C")
    return column


def _empty(db: Connection, tables: Sequence[Table]) -> None:
    if db.dialect.name == "postgresql":
        db.execute(text(f"TRUNCATE {', '.join(one.name for one in tables)}"))
        return
    for table in reversed(tables):
        db.execute(table.delete())


def _plain(value: Any) -> Any:
    """Write a value in the one way that it has on both engines."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, bytes):
        return value.hex()
    return json.dumps(value, sort_keys=True)
