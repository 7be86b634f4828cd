"""INSERT … ON CONFLICT DO NOTHING, which both engines write alike.

SQLAlchemy has it once for each engine, and loads all it has for PostgreSQL with that one.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ClauseElement, Insert, Table, insert
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.base import SyntaxExtension


def insert_missing(table: Table) -> Insert:
    """Insert rows but those that a unique constraint refuses."""
    return insert(table).ext(_OrNothing())


class _OrNothing(SyntaxExtension, ClauseElement):
    inherit_cache = True
    _traverse_internals = []

    def apply_to_insert(self, insert_stmt: Insert) -> None:
        insert_stmt.apply_syntax_extension_point(self._place, "post_values")

    def _place(self, _existing: Sequence[ClauseElement]) -> Sequence[ClauseElement]:
        return [self]


@compiles(_OrNothing)
def _write(_element: _OrNothing, _compiler: Any, **_options: Any) -> str:
    return "ON CONFLICT DO NOTHING"
