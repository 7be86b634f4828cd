"""INSERT … ON CONFLICT, which both engines write alike.

SQLAlchemy has it once for each engine, and loads all it has for PostgreSQL with that one.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ClauseElement, Insert, Table, insert
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.base import SyntaxExtension
from sqlalchemy.sql.visitors import InternalTraversal


def insert_missing(table: Table) -> Insert:
    """Insert rows but those that a unique constraint refuses."""
    return insert(table).ext(_OnConflict("DO NOTHING"))


def insert_or_update(table: Table, key: str, changes: str) -> Insert:
    """Insert rows, or make changes in those that are there; `key` names its columns, in SQL."""
    return insert(table).ext(_OnConflict(f"({key}) DO UPDATE SET {changes}"))


class _OnConflict(SyntaxExtension, ClauseElement):
    inherit_cache = True
    _traverse_internals = [("action", InternalTraversal.dp_string)]

    def __init__(self, action: str) -> None:
        self.action = action

    def apply_to_insert(self, insert_stmt: Insert) -> None:
        insert_stmt.apply_syntax_extension_point(self._place, "post_values")

    def _place(self, _existing: Sequence[ClauseElement]) -> Sequence[ClauseElement]:
        return [self]


@compiles(_OnConflict)
def _write(element: _OnConflict, _compiler: Any, **_options: Any) -> str:
    return f"ON CONFLICT {element.action}"
