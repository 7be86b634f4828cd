"""Statements for the hottest paths: compiled once, run by the driver's own cursor.

SQLAlchemy Core takes several times as long for a look-up by key as SQLite itself. What it knows is
asked once here: the SQL for each engine, and how values of each type are written and read.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from operator import itemgetter, methodcaller
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, Connection, Dialect, Insert, Select, Table, Update, bindparam

from service_kit.database.on_conflict import insert_missing
from service_kit.database.rows import R, check_fields

# The execution option of a connection that has a shorter way to its driver than a cursor: given
# SQL and values, it returns rows.
FETCH = "fetch"

# SQLite prepares to write its table and its indexes for each statement: so many rows in one take
# two thirds of the time.
ROWS_AT_ONCE = 100

LAST_KEY = 2**63 - 1

# PostgreSQL's number for double precision, which only the reader of a float asks for.
_DOUBLE = 701

Statement = Select[*tuple[Any, ...]] | Insert | Update
T = TypeVar("T")
_MakeRow = Callable[[Sequence[Any]], Any]


class _Prepared(Generic[T]):
    """A statement with named parameters.

    Use it for what breaks no constraint: errors are the driver's, not SQLAlchemy's. An INSERT
    writes these columns, of which those with a default may be left out.
    """

    def __init__(
        self,
        statement: Statement,
        columns: Sequence[str] | None = None,
        defaults: Mapping[str, Any] = {},
        make_row: _MakeRow = itemgetter(0),
    ) -> None:
        self._compile = partial(_Compiled, statement, columns, defaults, make_row)
        self._compiled: dict[str, _Compiled] = {}

    def all(self, db: Connection, **values: Any) -> list[T]:
        """Run it, and return what it finds."""
        compiled = self._for(db.dialect)
        return compiled.rows(_run(db, compiled, compiled.given(values), _found))

    def first(self, db: Connection, **values: Any) -> T | None:
        compiled = self._for(db.dialect)
        found = _run(db, compiled, compiled.given(values), _found)
        return compiled.row(found[0]) if found else None

    def _for(self, dialect: Dialect) -> "_Compiled":
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = self._compile(dialect)
        return found


class Prepared(_Prepared[R]):
    """A statement whose rows are NamedTuples, with a field for each column it finds, in order."""

    def __init__(self, row: type[R], statement: Statement) -> None:
        check_fields(row, (str(one.key) for one in statement.exported_columns))
        super().__init__(statement, make_row=partial(tuple.__new__, row))


class PreparedValues(_Prepared[T]):
    """A statement that finds one column: its values."""


class PreparedChange(_Prepared[None]):
    """An INSERT or UPDATE that is run for one row or for many, and finds nothing."""

    def each(self, db: Connection, rows: Sequence[Mapping[str, Any]], **same: Any) -> None:
        """Run it for each of these rows; `same` are values that all of them share."""
        compiled = self._for(db.dialect)
        if len(rows) == 1:
            _run(db, compiled, compiled.given({**rows[0], **same}), _nothing)
        elif rows:
            _run(db, compiled, compiled.given_each(rows, same), _nothing)


class PreparedInsertMissing(PreparedChange):
    """INSERT … ON CONFLICT DO NOTHING: a row that a unique constraint refuses is skipped.

    It writes every column but `id`; a nullable one that a row leaves out becomes NULL.
    """

    def __init__(self, table: Table) -> None:
        statement = insert_missing(table)
        nullable = {column.key: None for column in table.columns if column.nullable}
        written = [key for key in table.columns.keys() if key != "id"]  # noqa: SIM118
        super().__init__(statement.inline(), written, nullable)
        self._returning = PreparedValues[int](statement.returning(table.c.id), written, nullable)

    def one(self, db: Connection, **values: Any) -> int | None:
        """Insert one row. Returns its id, or None where it was skipped."""
        if db.dialect.name != "sqlite":
            return self._returning.first(db, **values)
        # RETURNING has SQLite prepare to undo the statement: it writes out its search index.
        compiled = self._for(db.dialect)
        return _run(db, compiled, compiled.given(values), _id_of_added)


class PreparedPages(Generic[R]):
    """Pages of all that a statement selects, in the order of a key or against it."""

    def __init__(self, row: type[R], statement: Select[*tuple[Any, ...]], key: Column[int]) -> None:
        some = statement.limit(bindparam("limit"))
        self._upwards = Prepared(row, some.where(key > bindparam("after")).order_by(key))
        self._downwards = Prepared(row, some.where(key < bindparam("after")).order_by(key.desc()))

    def page(
        self, db: Connection, after: int | None, limit: int, *, ascending: bool = True
    ) -> list[R]:
        """Read from the one behind `after`, or from the beginning."""
        pages, beginning = (self._upwards, 0) if ascending else (self._downwards, LAST_KEY)
        return pages.all(db, after=beginning if after is None else after, limit=limit)


class _Compiled:
    """One statement in one engine's words."""

    def __init__(
        self,
        statement: Statement,
        columns: Sequence[str] | None,
        defaults: Mapping[str, Any],
        make_row: _MakeRow,
        dialect: Dialect,
    ) -> None:
        compiled: Any = statement.compile(dialect=dialect, column_keys=columns)
        self.sql = str(compiled)
        self._parameters = [
            (str(name), compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
            for name in compiled.positiontup
        ]
        self._sql_for_many = self._for_many(dialect)
        own = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        self._defaults = {**own, **defaults}
        self._make_row = make_row
        readers = [
            one.type.dialect_impl(dialect).result_processor(dialect, _DOUBLE)
            for one in statement.exported_columns
        ]
        self._readers = [(place, read) for place, read in enumerate(readers) if read is not None]

    def _for_many(self, dialect: Dialect) -> str:
        """Write an INSERT for many rows; nothing for what is none."""
        row = "(" + ", ".join("?" * len(self._parameters)) + ")"
        if dialect.name != "sqlite" or f"VALUES {row}" not in self.sql:
            return ""
        return self.sql.replace(row, ", ".join([row] * ROWS_AT_ONCE))

    def given(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Put values into the order and the form in which the driver takes them."""
        if self._defaults:
            values = {**self._defaults, **values}
        return tuple(
            [
                values[name] if write is None else write(values[name])
                for name, write in self._parameters
            ]
        )

    def given_each(
        self, rows: Sequence[Mapping[str, Any]], same: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        """Do so for many, column by column."""
        columns: list[Any] = []
        for name, write in self._parameters:
            if name in same:
                value = same[name] if write is None else write(same[name])
                columns.append([value] * len(rows))
                continue
            if name in self._defaults:
                default = self._defaults[name]
                values = [row.get(name, default) for row in rows]
            else:
                values = [row[name] for row in rows]
            columns.append(values if write is None else map(write, values))
        return list(zip(*columns, strict=True))

    def run_each(self, cursor: Any, given: list[tuple[Any, ...]]) -> None:
        joined = len(given) - len(given) % ROWS_AT_ONCE if self._sql_for_many else 0
        if joined:
            starts = range(0, joined, ROWS_AT_ONCE)
            many = [tuple(chain.from_iterable(given[at : at + ROWS_AT_ONCE])) for at in starts]
            cursor.executemany(self._sql_for_many, many)
        cursor.executemany(self.sql, given[joined:])

    def row(self, found: Sequence[Any]) -> Any:
        values = list(found)
        for place, read in self._readers:
            values[place] = read(values[place])
        return self._make_row(values)

    def rows(self, found: Sequence[Sequence[Any]]) -> list[Any]:
        """Read values column by column, which is half the work of row by row."""
        if not found or not self._readers:
            return list(map(self._make_row, found))
        columns: list[Any] = list(zip(*found, strict=True))
        for place, read in self._readers:
            columns[place] = map(read, columns[place])
        return list(map(self._make_row, zip(*columns, strict=True)))


_found: Callable[[Any], Sequence[Sequence[Any]]] = methodcaller("fetchall")


def _nothing(_: Any) -> None:
    """Read nothing."""


def _id_of_added(cursor: Any) -> int | None:
    return cursor.lastrowid if cursor.rowcount else None


def _run(
    db: Connection,
    compiled: _Compiled,
    given: tuple[Any, ...] | list[tuple[Any, ...]],
    read: Callable[[Any], T],
) -> T:
    """Run a statement once, or for each of a list of values, and read what came of it."""
    if read is _found and (fetch := db.get_execution_options().get(FETCH)):
        found: T = fetch(compiled.sql, given)
        return found
    cursor: Any = db.connection.cursor()
    try:
        if isinstance(given, list):
            compiled.run_each(cursor, given)
        else:
            cursor.execute(compiled.sql, given)
        return read(cursor)
    finally:
        cursor.close()
