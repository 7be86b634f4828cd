"""What statements find, as NamedTuples: a field for each column, in the statement's order."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Connection, CursorResult, Executable, Select

R = TypeVar("R", bound=NamedTuple)


def find_all(
    row: type[R], db: Connection, statement: Executable, values: Mapping[str, Any] = {}
) -> list[R]:
    return [row._make(found) for found in _run(row, db, statement, values)]


def find_one(
    row: type[R], db: Connection, statement: Executable, values: Mapping[str, Any] = {}
) -> R | None:
    found = _run(row, db, statement, values).one_or_none()
    return None if found is None else row._make(found)


def get_one(
    row: type[R], db: Connection, statement: Executable, values: Mapping[str, Any] = {}
) -> R:
    """Return the one row that is known to be there."""
    return row._make(_run(row, db, statement, values).one())


def page_after(
    statement: Select[*tuple[Any, ...]],
    key: ColumnElement[int],
    after: int | None,
    limit: int,
    *,
    ascending: bool = True,
) -> Select[*tuple[Any, ...]]:
    """Narrow a statement to one page: in the order of a key, from the row behind `after`."""
    if after is not None:
        statement = statement.where(key > after if ascending else key < after)
    return statement.order_by(key.asc() if ascending else key.desc()).limit(limit)


def check_fields(row: type[R], columns: Iterable[str]) -> None:
    """Raise TypeError unless the row's fields are what a statement finds, in its order."""
    if (found := tuple(columns)) != row._fields:
        raise TypeError(f"{row.__name__} has {row._fields}, and the statement finds {found}")


def _run(
    row: type[R], db: Connection, statement: Executable, values: Mapping[str, Any]
) -> CursorResult[*tuple[Any, ...]]:
    found = db.execute(statement, dict(values))
    check_fields(row, found.keys())
    return found
