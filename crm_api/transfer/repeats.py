"""References and addresses that occur in a file more than once, so that their owner is unclear."""

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace

from pydantic import TypeAdapter, ValidationError

from crm_api.customers import store
from crm_api.customers.addresses import Address
from crm_api.transfer import table
from crm_api.transfer.table import Fault, Line, Source

_ADDRESS: TypeAdapter[str] = TypeAdapter(Address)
_KNOWN_BY = ("external_ref", "email")
_TOLD_EVERY = 1000
_CACHE_KIB = 32 << 10


class Repeats:
    """Finds them in one reading of the file; on disk, so that memory does not grow with it."""

    def __init__(self, header: Sequence[str]) -> None:
        self._places = [(name, header.index(name)) for name in _KNOWN_BY if name in header]
        self._width = len(header)
        # A temporary file of SQLite's own, which nobody else can open and which holds digests only.
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._db.execute(
            "CREATE TABLE seen (key BLOB PRIMARY KEY, first INTEGER, next INTEGER) WITHOUT ROWID"
        )
        self._db.execute("BEGIN")

    def close(self) -> None:
        self._db.close()

    def read(self, source: Source, advance: Callable[[int], None]) -> None:
        """Read the whole file; call `advance` now and then with the number of rows."""
        count = 0
        for number, cells in table.rows(source):
            for _, key in self._keys(cells):
                self._db.execute(
                    "INSERT INTO seen VALUES (?, ?, NULL)"
                    " ON CONFLICT DO UPDATE SET next = coalesce(next, excluded.first)",
                    [key, number],
                )
            count += 1
            if count % _TOLD_EVERY == 0:
                advance(_TOLD_EVERY)
        advance(count % _TOLD_EVERY)
        self._db.execute("DELETE FROM seen WHERE next IS NULL")

    def refuse(self, line: Line) -> Line:
        """Return the line, refused where it shares its reference or address with another."""
        faults = [
            Fault(name, f"is also on line {other}")
            for name, key in self._keys(line.cells)
            if (other := self._other_line(key, line.number)) is not None
        ]
        if not faults:
            return line
        return replace(line, customer=None, faults=[*line.faults, *faults])

    def _other_line(self, key: bytes, number: int) -> int | None:
        found = self._db.execute("SELECT first, next FROM seen WHERE key = ?", [key]).fetchone()
        if found is None:
            return None
        first, following = found
        return int(following if first == number else first)

    def _keys(self, cells: Sequence[str]) -> list[tuple[str, bytes]]:
        """Make a digest of each value by which the database would know this row's customer."""
        if len(cells) != self._width:
            return []
        values = [(name, table.value_of(cells[place])) for name, place in self._places]
        return [(name, _digest(name, value)) for name, value in values if value]


def _digest(name: str, value: str) -> bytes:
    key = _email_key(value) if name == "email" else value
    return hashlib.sha256(f"{name}\n{key}".encode()).digest()[:16]


def _email_key(value: str) -> str:
    try:
        return store.email_key(_ADDRESS.validate_python(value))
    except ValidationError:
        return value
