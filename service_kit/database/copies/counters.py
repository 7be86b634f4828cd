"""The counters that ids come from: they run ahead of the rows, since no id is given twice."""

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Connection, Integer, Table, func, select, text

_SEQUENCE = text("SELECT pg_get_serial_sequence(:table, :column)")
_FORGET = text("DELETE FROM sqlite_sequence WHERE name = :name")
_SET = text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)")


def read(db: Connection, tables: Sequence[Table]) -> dict[str, int]:
    """Return, by table, the last id that was given; only for those that have a counter."""
    if db.dialect.name == "sqlite":
        found = db.execute(text("SELECT name, seq FROM sqlite_sequence")).all()
        names = {table.name for table in tables}
        return {name: last for name, last in found if name in names}
    last_given = "CASE WHEN is_called THEN last_value ELSE last_value - 1 END"
    return {
        table.name: db.execute(text(f"SELECT {last_given} FROM {sequence}")).scalar_one()  # noqa: S608 (the database's own name of it)
        for table, sequence in _sequences(db, tables)
    }


def write(db: Connection, tables: Sequence[Table], counters: Mapping[str, int]) -> None:
    """Let ids go on behind these and behind those that are there.

    Undone when the transaction is rolled back.
    """
    if db.dialect.name == "sqlite":
        for table in filter(never_reuses, tables):
            db.execute(_FORGET, {"name": table.name})
            if last := _last(db, table, counters):
                db.execute(_SET, {"name": table.name, "last": last})
        return
    for table, sequence in _sequences(db, tables):
        first = _last(db, table, counters) + 1
        db.execute(text(f"ALTER SEQUENCE {sequence} RESTART WITH {first}"))


def advance(db: Connection, tables: Sequence[Table], by: int) -> None:
    """Leave out so many ids in each table of a SQLite file."""
    given = read(db, tables)
    write(db, tables, {table.name: given.get(table.name, 0) + by for table in tables})


def _last(db: Connection, table: Table, counters: Mapping[str, int]) -> int:
    [key] = table.primary_key
    highest: int = db.execute(select(func.max(key))).scalar_one() or 0
    return max(counters.get(table.name, 0), highest)


def _sequences(db: Connection, tables: Sequence[Table]) -> Iterator[tuple[Table, str]]:
    """Find PostgreSQL's sequences, by the tables that they belong to."""
    for table in tables:
        keys = list(table.primary_key)
        if len(keys) == 1 and isinstance(keys[0].type, Integer):
            named = {"table": f'"{table.name}"', "column": keys[0].name}
            if sequence := db.execute(_SEQUENCE, named).scalar_one():
                yield table, sequence


def never_reuses(table: Table) -> bool:
    """Return whether no id of a table is ever given twice, also not the last one's."""
    return bool(table.dialect_options["sqlite"]["autoincrement"])
