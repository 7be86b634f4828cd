"""A value of each kind for any column; another one for each number."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import JSON, Boolean, Column, Float, Integer, LargeBinary

from service_kit.database.types import UtcDateTime

BEGAN_AT = datetime(2026, 1, 5, 12, tzinfo=UTC)


def value_of(column: Column[Any], n: int) -> Any:
    """Give the value; none for each third number, where a column may be empty."""
    may_be_empty = column.nullable and not column.unique and column.name != "position"
    if may_be_empty and n % 3 == 0:
        return None
    if column.name == "tracked":
        return False  # so that Inventory's books balance whatever is in them
    for kind, value in _VALUES.items():
        if isinstance(column.type, kind):
            return value(n)
    if column.name == "state":
        return "pending" if column.table.name == "deliveries" else f"s{n}"
    length = getattr(column.type, "length", None) or 100
    return f"{'Ä' if n % 2 else 'z'}{n} {column.name}"[:length]


_VALUES: dict[type[Any], Callable[[int], Any]] = {
    Boolean: lambda n: n % 2 == 0,
    Integer: lambda n: n,
    Float: lambda n: n / 3,
    UtcDateTime: lambda n: BEGAN_AT + timedelta(days=n, microseconds=n),
    JSON: lambda n: {"name": f"Zoë {n}", "list": [n, None, 0.1]},
    LargeBinary: lambda n: n.to_bytes(32, "big"),
}
