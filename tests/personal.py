"""Marks in personal columns, by which a test finds what an erasure has left behind."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import JSON, Connection, String, Table, inspect, text, update

from service_kit.database.personal import personal
from service_kit.web.postal import EXAMPLE

# Where answers read it, a mark has the form that they promise.
_ADDRESSES = {"address", "ship_to"}


def marks(tables: Iterable[Table]) -> dict[str, dict[str, str]]:
    """Make a mark for each personal column of each table that has one."""
    return {
        table.name: {name: f"mark-{place}-{name}"[:50] for place, name in enumerate(names)}
        for table in tables
        if (names := personal(table))
    }


def leave_marks(
    db: Connection, tables: Mapping[str, Table], wanted: Mapping[str, Mapping[str, str]]
) -> None:
    """Write the marks into every row. Each table must have one, else they would prove nothing."""
    for name, columns in wanted.items():
        table = tables[name]
        values = {column: _value(table, column, mark) for column, mark in columns.items()}
        assert db.execute(update(table).values(values)).rowcount, f"{name} has no row to erase"


def all_marks(wanted: Mapping[str, Mapping[str, str]]) -> list[str]:
    return [mark for columns in wanted.values() for mark in columns.values()]


def everything_in(db: Connection) -> str:
    """Read every column of every table, whichever there are by now, in lower case."""
    preparer = db.dialect.identifier_preparer
    names = [preparer.quote(name) for name in inspect(db).get_table_names()]
    found = [str(db.execute(text(f"SELECT * FROM {name}")).all()) for name in names]  # noqa: S608
    return "".join(found).lower()


def _value(table: Table, column: str, mark: str) -> Any:
    kind = table.c[column].type
    if column in _ADDRESSES:
        return {**EXAMPLE, "lines": [mark]}
    if isinstance(kind, JSON):
        return {"key": mark}
    assert isinstance(kind, String), f"say here how to mark {table.name}.{column}, a {kind!r}"
    return mark
