"""The fields of rows are the columns of their table, in the same order and of a kind."""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import pytest
from sqlalchemy import JSON, Column, Table
from typing_extensions import is_typeddict

import crm_api
import inventory_api


class Rows(NamedTuple):
    """A module's tables, and the classes of their rows."""

    tables: list[Table]
    classes: list[Any]


def models() -> Iterator[Rows]:
    for package in (crm_api, inventory_api):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith(".models"):
                yield rows_of(importlib.import_module(found.name))


def rows_of(module: ModuleType) -> Rows:
    own = [one for one in vars(module).values() if getattr(one, "__module__", "") != "typing"]
    return Rows(
        [one for one in own if isinstance(one, Table)],
        [one for one in own if isinstance(one, type) and issubclass(one, tuple)],
    )


def table_of(row: Any, tables: list[Table]) -> Table:
    """Find the table that has most of a row's fields."""
    return max(tables, key=lambda table: len({*row._fields} & {*table.columns.keys()}))


PAIRS = [(table_of(row, rows.tables), row) for rows in models() for row in rows.classes]


@pytest.mark.parametrize(("table", "row"), PAIRS, ids=lambda one: getattr(one, "name", ""))
def test_a_row_has_a_field_for_each_column(table: Table, row: Any) -> None:
    # A ticket has more, of other tables.
    assert list(row._fields)[: len(table.columns)] == table.columns.keys()
    types = get_type_hints(row)
    assert {c.key: kind_of(types[c.key]) for c in table.c} == {c.key: kind(c) for c in table.c}


def kind(column: Column[Any]) -> tuple[type, bool]:
    """Of what type a column's values are, and whether there may be none."""
    stored: Any = getattr(column.type, "impl", column.type)
    is_json = isinstance(column.type, JSON)
    return (dict if is_json else stored.python_type, bool(column.nullable))


def kind_of(hint: Any) -> tuple[type, bool]:
    some = [one for one in get_args(hint) if one is not type(None)]
    if get_origin(hint) is Literal:
        return str, False
    if get_origin(hint) in {dict, list}:  # JSON holds either
        return dict, False
    if not some:
        return hint, False
    return (dict if is_typeddict(some[0]) else some[0]), True
