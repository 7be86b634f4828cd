"""Substring search over a million rows, the same on both engines.

An index keeps, for each row, the text that is searched and the trigrams in it: every three letters
that follow each other. What is asked for is looked up by the rarest of its own trigrams, and the
few rows that have them all are then read. SQLite has such an index as a tokenizer of FTS5. On
PostgreSQL it is a GIN index of integers, which every server has; the extension pg_trgm would do the
same, but not every role may create it, and it folds letters in a way of its own.
"""

import zlib
from collections.abc import Sequence
from typing import Any
from unicodedata import normalize

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)

from service_kit.database.listed import is_listed
from service_kit.database.prepared import PreparedChange, PreparedValues

_LENGTH = 3
# Between two texts that are searched together. A query is one line, so none reaches across.
_SEPARATOR = "\n"
# How many texts are sampled, one from each part of the table, to estimate how rare a trigram is.
_SAMPLED = 16
_REBUILT_AT_ONCE = 1000
# How many rare trigrams are enough: each costs more, the more rows have it.
_ENOUGH = 4
# How many trigrams of a long query are considered: each is looked for in every sampled text.
_MOST_WEIGHED = 32


def fold(*texts: str | None) -> str:
    """Write texts in the form in which they are compared: upper and lower case are the same.

    Python decides what that means, so that both engines agree on it beyond ASCII.
    """
    joined = _SEPARATOR.join(text or "" for text in texts)
    return normalize("NFKC", normalize("NFKC", joined).casefold())


def trigram_numbers(text: str) -> list[int]:
    """Return the trigrams of a text as numbers of 32 bits, as PostgreSQL keeps them.

    Two may share a number; whatever is found by number is read before it is believed.
    """
    return sorted({_number(text[at : at + _LENGTH]) for at in range(len(text) - _LENGTH + 1)})


def rarest(query: str, texts: Sequence[str]) -> list[str]:
    """Choose the trigrams by which a query is looked up, from how many of some texts have each.

    Four that few have leave few rows to read. Another is worth its cost where some of the texts
    have all that were chosen, but not this one.
    """
    last = len(query) - _LENGTH
    # Of those that are equally rare first what covers the query: overlapping ones say less.
    starts = [*range(0, last, _LENGTH), last, *range(last)]
    trigrams = list(dict.fromkeys(query[at : at + _LENGTH] for at in starts))[:_MOST_WEIGHED]
    holders = {one: sum(one in text for text in texts) for one in trigrams}
    chosen: list[str] = []
    left = texts
    for one in sorted(trigrams, key=holders.__getitem__):
        still = [text for text in left if one in text]
        is_rare = holders[one] <= len(texts) / 2
        if not chosen or len(still) < len(left) or (is_rare and len(chosen) < _ENOUGH):
            chosen.append(one)
            left = still
    return chosen


class SearchIndex:
    """The index of one table's texts, kept by the same transactions as the table itself."""

    def __init__(self, name: str) -> None:
        self._name = name
        # On SQLite an FTS5 table, which has no column for trigrams; see the migrations.
        self._table = Table(
            name,
            MetaData(),
            Column("rowid", BigInteger, primary_key=True, autoincrement=False),
            Column("text", Text, nullable=False),
            Column("trigrams", ARRAY(Integer), nullable=False),
        )
        new = insert(self._table).inline()
        self._add = {
            "sqlite": PreparedChange(new, columns=["rowid", "text"]),
            "postgresql": PreparedChange(new, columns=["rowid", "text", "trigrams"]),
        }
        self._last = PreparedValues[int | None](select(func.max(self.rowid)))
        self._some = PreparedValues[str](
            select(self._table.c.text).where(is_listed(self.rowid, "ids"))
        )
        self._change = update(self._table).where(self.rowid == bindparam("row"))
        self._remove = delete(self._table).where(self.rowid == bindparam("row"))

    @property
    def rowid(self) -> ColumnElement[int]:
        """The id of the row that was found: the order of a page, and where it goes on."""
        return self._table.c.rowid

    @property
    def table(self) -> Table:
        return self._table

    def add(self, db: Connection, texts: Sequence[tuple[int, str]]) -> None:
        """Enter the folded texts of new rows."""
        if texts:
            rows = [{"rowid": row_id, **_columns(db, text)} for row_id, text in texts]
            self._add[db.dialect.name].each(db, rows)

    def rebuild(self, db: Connection, texts: Select[*tuple[Any, ...]]) -> None:
        """Make the index anew: of each row that the statement finds, its id and its texts."""
        db.execute(delete(self._table))
        found = db.execute(texts, execution_options={"yield_per": _REBUILT_AT_ONCE})
        for rows in found.partitions():
            self.add(db, [(row[0], fold(*row[1:])) for row in rows])

    def change(self, db: Connection, row_id: int, text: str) -> None:
        db.execute(self._change.values(_columns(db, text)), {"row": row_id})

    def remove(self, db: Connection, row_id: int) -> None:
        db.execute(self._remove, {"row": row_id})

    def holding(self, db: Connection, query: str) -> list[ColumnElement[bool]]:
        """Build the conditions that hold for rows with this text in them.

        A query of one or two letters has no trigram: the texts are then read one by one in the
        order of the page until it is full. That is one pass over this table at the most.
        """
        text = fold(query)
        trigrams = rarest(text, self._sample(db)) if len(text) >= _LENGTH else []
        if db.dialect.name == "sqlite":
            conditions = [func.instr(self._table.c.text, text) > 0]
            if trigrams:
                match = " AND ".join('"' + one.replace('"', '""') + '"' for one in trigrams)
                conditions.append(literal_column(self._name).op("MATCH")(match))
            return conditions
        conditions = [func.strpos(self._table.c.text, text) > 0]
        if trigrams:
            numbers = [_number(one) for one in trigrams]
            # In the statement itself, where the planner sees how common they are: it reads rows in
            # order when all have them, and the index when few do.
            array = bindparam(None, numbers, type_=ARRAY(Integer), literal_execute=True)
            conditions.append(self._table.c.trigrams.op("@>")(array))
        return conditions

    def _sample(self, db: Connection) -> list[str]:
        """Read some texts, from the middle of each part of the table."""
        last = self._last.first(db) or 0
        middles = range(last // (2 * _SAMPLED), last + 1, last // _SAMPLED + 1)
        return self._some.all(db, ids=list(middles))


def _columns(db: Connection, text: str) -> dict[str, object]:
    if db.dialect.name == "sqlite":
        return {"text": text}
    return {"text": text, "trigrams": trigram_numbers(text)}


def _number(trigram: str) -> int:
    # The sign bit alone tells its 32 bits from those of zlib.
    return (zlib.crc32(trigram.encode()) ^ 2**31) - 2**31
