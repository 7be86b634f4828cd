"""Connections to a SQLite file, with the settings that the promises need."""

import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Connection, Engine, create_engine, make_url
from sqlalchemy.pool import NullPool

from service_kit.database.errors import DatabaseDamaged, DurabilityMissing, origin
from service_kit.database.prepared import FETCH

BUSY_SECONDS = 5.0


def file_of(url: str) -> Path:
    """Return the file of a SQLite URL; a database in memory is refused."""
    name = make_url(url).database
    if not name or name == ":memory:":
        raise ValueError("DATABASE_URL: SQLite needs a file, as in sqlite:///data/crm.db")
    return Path(name)


def sqlite_engine(path: Path, *, query_only: bool = False, busy_seconds: float = 0.0) -> Engine:
    """Make an engine whose transactions are begun by hand, with the settings that keep promises.

    WAL lets readers and the writer go on side by side; FULL flushes every commit. Without the first
    a reader blocks the writer, without the second a power cut takes back what callers were told.
    """

    def connect() -> sqlite3.Connection:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path,
            timeout=BUSY_SECONDS,
            isolation_level=None,  # the driver would begin transactions late and deferred
            check_same_thread=False,  # a commit runs in a thread; never two at once
            cached_statements=512,
        )
        try:
            _keep_promises(connection)
            if query_only:
                connection.execute("PRAGMA query_only = ON")
            connection.execute(f"PRAGMA busy_timeout = {busy_seconds * 1000:.0f}")
        except Exception:
            connection.close()
            raise
        return connection

    def connect_or_say_where() -> sqlite3.Connection:
        try:
            return connect()
        except (OSError, sqlite3.Error) as error:
            note_file(error, path)
            raise

    return create_engine(
        "sqlite://",
        creator=connect_or_say_where,
        poolclass=NullPool,
        json_deserializer=from_json,
        hide_parameters=True,
    )


def note_file(error: Exception, path: Path) -> None:
    """Note on an error of SQLite's, which names no file, which one it is and what to look at."""
    cause = origin(error)
    if not isinstance(cause, sqlite3.Error) or hasattr(cause, "__notes__"):
        return
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR}:
        cause.add_note(
            f"{path} (user {os.getuid()}): the file and its folder must be this user's to write"
        )
    elif code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        cause.add_note(f"{path}: another process is writing to it")
    else:
        cause.add_note(str(path))


def _keep_promises(connection: sqlite3.Connection) -> None:
    mode = _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # What is erased is overwritten, not just no longer shown. Some builds do so anyway.
    connection.execute("PRAGMA secure_delete = ON")
    level = connection.execute("PRAGMA synchronous").fetchone()[0]
    if mode != "wal" or level < 2:  # noqa: PLR2004 (FULL)
        raise DurabilityMissing(f"SQLite gave journal_mode={mode} synchronous={level}.")


def _switch_to_wal(connection: sqlite3.Connection) -> str:
    """Choose the journal of a file, which needs it for itself when it is new.

    SQLite doesn't wait its busy timeout for that, since two who both read first would wait for each
    other for ever.
    """
    give_up_at = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            if time.monotonic() > give_up_at:
                raise
        time.sleep(0.005)


def refuse_damaged(connection: sqlite3.Connection) -> None:
    """Raise DatabaseDamaged where a file is not what SQLite has made of it; reads all of it."""
    faults = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
    if faults != ["ok"]:
        raise DatabaseDamaged(f"the file is damaged: {'; '.join(faults)}")


def driver(connection: Connection) -> sqlite3.Connection:
    found = connection.connection.driver_connection
    assert isinstance(found, sqlite3.Connection)
    return found


def direct(connection: Connection) -> None:
    """Have prepared statements go directly to the driver's connection."""
    own = driver(connection)

    def fetch(sql: str, given: Sequence[Any]) -> list[Any]:
        return own.execute(sql, given).fetchall()

    connection.execution_options(**{FETCH: fetch})
