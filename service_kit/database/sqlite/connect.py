"""Connections to a SQLite file, with the settings that the promises need."""

import os
import sqlite3
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Connection, Engine, create_engine, make_url
from sqlalchemy.pool import NullPool

from service_kit.database.errors import DatabaseUnavailable, DurabilityMissing, origin, sqlite_code
from service_kit.database.prepared import FETCH

BUSY_SECONDS = 5.0
PRIVATE = 0o600
SHARED_WITH_GROUP = 0o660


def file_of(url: str) -> Path:
    """Return the file of a SQLite URL. Raises ValueError for a database in memory."""
    name = make_url(url).database
    if not name or name == ":memory:":
        raise ValueError("DATABASE_URL: SQLite needs a file, as in sqlite:///data/crm.db")
    return Path(name)


def make_file(path: Path, mode: int | None = None) -> None:
    """Make an empty file, which SQLite takes for an empty database, with this mode.

    By default others on this machine can't read it, since customers are in it. Only where a group
    may write to the folder, as in the images, it may use the file as well. The umask plays no
    part, and SQLite gives -wal and -shm the same mode. Raises FileExistsError.
    """
    if mode is None:
        folder = path.parent.stat().st_mode
        is_shared = folder & stat.S_IWGRP and not folder & stat.S_IWOTH
        mode = SHARED_WITH_GROUP if is_shared else PRIVATE
    number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    try:
        os.fchmod(number, mode)
    finally:
        os.close(number)


def sqlite_engine(path: Path, *, query_only: bool = False, busy_seconds: float = 0.0) -> Engine:
    """Make an engine whose connections keep the promises; its users issue BEGIN and COMMIT.

    Driver-level autocommit: sqlite3 would begin transactions late and deferred, and SQLAlchemy's
    objects for them cost more than SQLite's work on a look-up by key.
    """

    def connect() -> sqlite3.Connection:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                with suppress(FileExistsError):  # another process is starting as well
                    make_file(path.resolve())
            connection = sqlite3.connect(
                path,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,  # a commit runs in a thread; never two at once
                cached_statements=512,
            )
            try:
                _keep_promises(connection)
                connection.execute(f"PRAGMA query_only = {query_only:d}")
                connection.execute(f"PRAGMA busy_timeout = {busy_seconds * 1000:.0f}")
            except Exception:
                connection.close()
                raise
        except (OSError, sqlite3.Error) as error:
            note_file(error, path)
            raise
        return connection

    return create_engine(
        "sqlite://",
        creator=connect,
        poolclass=NullPool,
        json_deserializer=from_json,
        hide_parameters=True,
    )


def driver(connection: Connection) -> sqlite3.Connection:
    found = connection.connection.driver_connection
    assert isinstance(found, sqlite3.Connection)
    return found


def fetch_by_driver(connection: Connection) -> None:
    """Let prepared statements call the driver's connection without a cursor of SQLAlchemy's."""
    own = driver(connection)

    def fetch(sql: str, given: Sequence[Any]) -> list[Any]:
        return own.execute(sql, given).fetchall()

    connection.execution_options(**{FETCH: fetch})


def note_file(error: Exception, path: Path) -> None:
    """Note on an error which file it is, which SQLite does not say, and what to look at."""
    cause = origin(error)
    if not isinstance(cause, sqlite3.Error | OSError) or hasattr(cause, "__notes__"):
        return
    code = sqlite_code(cause)
    cant_open = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR}
    theirs = "the file and its folder must be this user's to write"
    if isinstance(cause, OSError):  # which names it
        cause.add_note(f"user {os.getuid()}: {theirs}")
    elif code in cant_open:
        cause.add_note(f"{path.absolute()} (user {os.getuid()}): {theirs}")
    elif code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        cause.add_note(f"{path}: another process is writing to it")
    else:
        cause.add_note(str(path))


def refuse_damaged(connection: sqlite3.Connection, path: Path) -> None:
    """Raise DatabaseUnavailable where a file's pages contradict each other. Reads all of it."""
    faults = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
    if faults != ["ok"]:
        found = "; ".join(faults).replace("\n", " ")
        raise DatabaseUnavailable(f"the file is damaged: {found}: {path}")


def _keep_promises(connection: sqlite3.Connection) -> None:
    """Set WAL, so that readers don't block the writer, and FULL, which flushes every commit."""
    mode = _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # Erased data is overwritten, not just unlinked. Some builds do so anyway.
    connection.execute("PRAGMA secure_delete = ON")
    level = connection.execute("PRAGMA synchronous").fetchone()[0]
    if mode != "wal" or level < 2:  # noqa: PLR2004 (FULL)
        raise DurabilityMissing(f"SQLite gave journal_mode={mode} synchronous={level}.")


def _switch_to_wal(connection: sqlite3.Connection) -> str:
    """Set the journal mode, for which a new file must be locked exclusively.

    SQLite ignores its busy timeout here, since two processes that have both read first would wait
    for each other for ever.
    """
    give_up_at = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if sqlite_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise
        time.sleep(0.005)
