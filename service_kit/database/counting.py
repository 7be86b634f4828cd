"""Counts of a table's rows by kind, which cost little where nearly all are of one kind."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    Column,
    CompoundSelect,
    Connection,
    Select,
    and_,
    bindparam,
    func,
    null,
    select,
    union_all,
)

Kind = tuple[Any, ...]


class KindCounts:
    """Counts how many rows have which values in some columns, of which none is ever NULL.

    An index has to begin with the columns. SQLite knows how many rows there are without a look at
    each. So those of one kind need none: they are what is left when all others are counted. It is
    the kind of the oldest row, for in the end most tickets are closed and most packages delivered.
    """

    def __init__(self, *columns: Column[Any]) -> None:
        self._names = [column.name for column in columns]
        number = func.count().label("number")
        self._by_kind = select(*columns, number).group_by(*columns)
        table = columns[0].table
        self._oldest = select(*columns).order_by(*table.primary_key).limit(1)
        # One statement, so that what changes meanwhile is not counted twice.
        total = select(number).select_from(table).scalar_subquery()
        everything = select(*(null().label(name) for name in self._names), total.label("number"))
        self._all_and_others: CompoundSelect[*Kind] = union_all(everything, *self._others(columns))

    def __call__(self, db: Connection) -> dict[Kind, int]:
        """Count them. A kind that no row is of is left out."""
        if db.dialect.name == "postgresql":
            return {tuple(kind): number for *kind, number in db.execute(self._by_kind)}
        oldest = db.execute(self._oldest).one_or_none()
        if oldest is None:
            return {}
        usual = dict(zip(self._names, oldest, strict=True))
        [(*_, total), *others] = db.execute(self._all_and_others, usual)
        counts = {tuple(kind): number for *kind, number in others}
        if left := total - sum(counts.values()):
            counts[tuple(oldest)] = left
        return counts

    def _others(self, columns: tuple[Column[Any], ...]) -> Iterator[Select[*tuple[Any, ...]]]:
        """Count what comes before the usual kind in the index, and what comes behind it."""
        for place, column in enumerate(columns):
            same = [one == bindparam(one.name) for one in columns[:place]]
            for is_beyond in (column < bindparam(column.name), column > bindparam(column.name)):
                yield self._by_kind.where(and_(*same, is_beyond))
