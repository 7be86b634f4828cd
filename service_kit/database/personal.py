"""Personal data, which each column that holds it says of itself: `info=PERSONAL`.

What an erasure blanks follows from that, so no list of such columns can be forgotten.
"""

from typing import Any

from sqlalchemy import JSON, Table

PERSONAL = {"personal": True}


def personal(table: Table) -> list[str]:
    return [column.key for column in table.c if column.info.get("personal")]


def blanks(table: Table) -> dict[str, Any]:
    """Return what an erasure writes into each personal column."""
    return {name: _blank(table, name) for name in personal(table)}


def _blank(table: Table, name: str) -> Any:
    column = table.c[name]
    if column.nullable:
        return None
    return {} if isinstance(column.type, JSON) else ""
