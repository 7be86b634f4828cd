"""Reads whole tables in the order of their keys, hashes them, and writes them elsewhere."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic_core import to_json
from sqlalchemy import Column, ColumnElement, Connection, Row, String, Table, func, select, text

from service_kit.database.copies import counters
from service_kit.database.copies.contents import Advance

# So many are in memory at once.
ROWS_AT_ONCE = 1000


class Digest(NamedTuple):
    """How many rows a table has, and the SHA-256 over all of them in the order of their keys."""

    rows: int
    sha256: str


Digests = Mapping[str, Digest]


class _Hasher:
    def __init__(self) -> None:
        self._rows = 0
        self._hash = hashlib.sha256()

    def add(self, rows: Sequence[Row[*tuple[Any, ...]]]) -> None:
        for row in rows:
            self._hash.update(to_json([_plain(value) for value in row]))
            self._hash.update(b"\n")
        self._rows += len(rows)

    def digest(self) -> Digest:
        return Digest(self._rows, self._hash.hexdigest())


def count(db: Connection, tables: Sequence[Table]) -> int:
    return sum(db.execute(select(func.count()).select_from(one)).scalar_one() for one in tables)


def digests(db: Connection, tables: Sequence[Table], advance: Advance) -> Digests:
    """Hash tables as they are."""
    return {table.name: _walk(db, table, advance) for table in tables}


def copy(
    source: Connection, target: Connection, tables: Sequence[Table], advance: Advance
) -> Digests:
    """Replace all rows of the target by those of the source, and its counters of ids.

    Returns what was read.
    """
    _empty(target, tables)
    found = {table.name: _walk(source, table, advance, target) for table in tables}
    # Behind the rows: a number that is handed out meanwhile on PostgreSQL is not taken back.
    counters.write(target, tables, counters.read(source, tables))
    return found


def different(one: Digests, other: Digests) -> list[str]:
    """Name the tables that are not the same."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def _walk(
    db: Connection, table: Table, advance: Advance, target: Connection | None = None
) -> Digest:
    hasher = _Hasher()
    for rows in _read(db, table):
        hasher.add(rows)
        if target is not None:
            target.execute(table.insert(), [dict(row._mapping) for row in rows])  # noqa: SLF001 (its public name)
        advance(len(rows))
    return hasher.digest()


def _read(db: Connection, table: Table) -> Iterator[Sequence[Row[*tuple[Any, ...]]]]:
    """Read a table a part at a time: the engine's own cursor, which sorts once if at all.

    Columns come by name, since their order tells when a column was added and not what is in it.
    """
    columns = sorted(table.c, key=lambda column: column.name)
    keys = [_bytewise(db, column) for column in table.primary_key]
    options = {"yield_per": ROWS_AT_ONCE}
    yield from db.execute(select(*columns).order_by(*keys), execution_options=options).partitions()


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
