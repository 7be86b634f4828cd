"""Any number of values as one parameter.

An expanding parameter makes another statement for each number of values, which can't be prepared.
"""

from typing import Any

from sqlalchemy import JSON, ColumnElement, Integer, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class _items_of(FunctionElement[Any]):  # noqa: N801 (reads as the SQL function it is)
    """The items of a JSON array of texts or numbers."""

    inherit_cache = True


def is_listed(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Build the condition that a value is in the list given as the parameter `name`."""
    items = _items_of(bindparam(name, type_=JSON))
    items.type = column.type
    return column.op("IN", is_comparison=True)(items)


@compiles(_items_of, "sqlite")
def _on_sqlite(element: _items_of, compiler: SQLCompiler, **kw: Any) -> str:
    parameter = compiler.process(element.clauses, **kw)
    return f"(SELECT value FROM json_each({parameter}))"  # noqa: S608 (a parameter's place)


@compiles(_items_of, "postgresql")
def _on_postgresql(element: _items_of, compiler: SQLCompiler, **kw: Any) -> str:
    parameter = compiler.process(element.clauses, **kw)
    read = "CAST(item AS BIGINT)" if isinstance(element.type, Integer) else "item"
    return f"(SELECT {read} FROM json_array_elements_text({parameter}) item)"  # noqa: S608
