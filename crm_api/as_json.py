"""Rows that the database writes as JSON itself.

For pages: to read fifty customers into Python and write them as JSON again takes three times as
long as all else that is done for a page. The text is what the response models write, and a test
holds the two together.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import JSON, ColumnElement, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from service_kit.database.types import UtcDateTime


class as_json(FunctionElement[str]):  # noqa: N801 (reads as the SQL function it is)
    """One JSON object of these columns, under their own names."""

    inherit_cache = True
    type = Text()


class rfc3339(FunctionElement[str]):  # noqa: N801
    """An instant as it is written in JSON."""

    inherit_cache = True
    type = Text()


class json_tuple(FunctionElement[str]):  # noqa: N801
    """A JSON array of these columns, instants with their zone."""

    inherit_cache = True
    type = Text()


class json_list(FunctionElement[str]):  # noqa: N801
    """A JSON array of what a subquery of one `json_tuple` finds, in its order."""

    inherit_cache = True
    type = Text()


class JsonRow(NamedTuple):
    """A row as one JSON object, and its id, by which a page goes on."""

    id: int
    json: str


def json_array(rows: Iterable[JsonRow]) -> str:
    return f"[{','.join(row.json for row in rows)}]"


@compiles(as_json, "sqlite")
def _on_sqlite(element: as_json, compiler: SQLCompiler, **kw: Any) -> str:
    pairs = _pairs(element, compiler, kw, of_json="json({})")
    return f"json_object({pairs})"


@compiles(as_json, "postgresql")
def _on_postgresql(element: as_json, compiler: SQLCompiler, **kw: Any) -> str:
    # Text, since the driver would take JSON for something to be read.
    return f"CAST(json_build_object({_pairs(element, compiler, kw)}) AS TEXT)"


def _pairs(element: as_json, compiler: SQLCompiler, kw: dict[str, Any], of_json: str = "{}") -> str:
    """Write names and values; `of_json` is what makes JSON of a column that holds its text."""

    def written(column: ColumnElement[Any]) -> str:
        is_instant = isinstance(column.type, UtcDateTime)
        sql = compiler.process(rfc3339(column) if is_instant else column, **kw)
        return of_json.format(sql) if isinstance(column.type, JSON) else sql

    return ", ".join(f"'{column.key}', {written(column)}" for column in element.clauses)


@compiles(rfc3339, "sqlite")
def _instant_on_sqlite(element: rfc3339, compiler: SQLCompiler, **kw: Any) -> str:
    instant = compiler.process(element.clauses, **kw)
    return f"replace(replace({instant}, ' ', 'T'), '.000000', '') || 'Z'"


@compiles(rfc3339, "postgresql")
def _instant_on_postgresql(element: rfc3339, compiler: SQLCompiler, **kw: Any) -> str:
    instant = f"{compiler.process(element.clauses, **kw)} AT TIME ZONE 'UTC'"
    written = f"to_char({instant}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"
    return f"replace({written}, '.000000', '') || 'Z'"


@compiles(json_tuple, "sqlite")
def _tuple_on_sqlite(element: json_tuple, compiler: SQLCompiler, **kw: Any) -> str:
    columns = ", ".join(
        compiler.process(column, **kw)
        + (" || '+00:00'" if isinstance(column.type, UtcDateTime) else "")
        for column in element.clauses
    )
    return f"json_array({columns})"


@compiles(json_tuple, "postgresql")
def _tuple_on_postgresql(element: json_tuple, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_build_array({compiler.process(element.clauses, **kw)})"


@compiles(json_list, "sqlite")
def _list_on_sqlite(element: json_list, compiler: SQLCompiler, **kw: Any) -> str:
    found = compiler.process(element.clauses, **kw)
    return f"(SELECT json_group_array(json(found)) FROM {found})"  # noqa: S608 (Core's own SQL)


@compiles(json_list, "postgresql")
def _list_on_postgresql(element: json_list, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST(array_to_json(ARRAY{compiler.process(element.clauses, **kw)}) AS TEXT)"
