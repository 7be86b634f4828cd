"""SQLite files that are written whole before they take their name, and files that are only read."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from pydantic_core import from_json
from sqlalchemy import Connection, NullPool, create_engine

from service_kit.database.copies.contents import CopyFailed
from service_kit.database.errors import DatabaseUnavailable, sqlite_code
from service_kit.database.sqlite.connect import driver, make_file, note_file
from service_kit.database.sqlite.snapshots import flush
from service_kit.database.sqlite.usage import FileUse

BUSY_SECONDS = 2.0
# What is erased in a copy must not stay in its pages.
_FILLING = (
    "journal_mode = MEMORY",
    "synchronous = OFF",
    "cache_size = -65536",  # 64 MiB: indexes are filled in any order
    "foreign_keys = ON",
    "secure_delete = ON",
)


@contextmanager
def replacing(path: Path, mode: int | None = None) -> Iterator[Path]:
    """Give the path of a new, empty file; when the work is done it takes the place of `path`.

    Whatever ends the process, there is the old file or the new one. Only one process at a time
    writes a file of this name.
    """
    if not path.parent.is_dir():
        raise CopyFailed(f"{path.parent} is no folder")
    part = Path(f"{path}.part")
    with _only_writer(part):
        try:
            discard(part)
            make_file(part, mode)
            yield part
            flush(part)
            part.replace(path)
        finally:
            discard(part)
        flush(path.parent)


def discard(path: Path) -> None:
    """Remove what an attempt that was broken off has left."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


@contextmanager
def filling(path: Path) -> Iterator[Connection]:
    """Give a transaction on a file that nobody else uses, and that is flushed as a whole later."""
    with _connect(path, lambda: sqlite3.connect(path, isolation_level=None)) as db:
        own = driver(db)
        for pragma in _FILLING:
            own.execute(f"PRAGMA {pragma}")
        own.execute("BEGIN")
        with db.begin():
            yield db


@contextmanager
def reading(path: Path) -> Iterator[Connection]:
    """Give a connection that changes nothing about a file, not even how it is journaled."""
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    with _connect(path, lambda: sqlite3.connect(address, uri=True, isolation_level=None)) as db:
        yield db


@contextmanager
def alone(path: Path, *, may_be_damaged: bool = False) -> Iterator[None]:
    """Keep every other process away from a database, and bring all of it into its one file.

    Raises CopyFailed where another has it open, also one of another program or an older release.
    """
    ignored = (sqlite3.DatabaseError,) if may_be_damaged else ()
    try:
        use = FileUse(path, alone=True)
    except DatabaseUnavailable as error:
        raise CopyFailed(_in_use(path)) from error
    with use:
        if path.exists():
            with suppress(*ignored):
                _close_log(path)
        yield


def _close_log(path: Path) -> None:
    """Leave WAL mode, which SQLite allows to the only one who has the file open."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        mode = connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
    except sqlite3.OperationalError as error:
        if sqlite_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise CopyFailed(_in_use(path)) from error
        raise
    finally:
        connection.close()
    if mode != "delete":
        raise CopyFailed(_in_use(path))


def _in_use(path: Path) -> str:
    return f"{path} is in use: stop every process that has it open"


@contextmanager
def _only_writer(part: Path) -> Iterator[None]:
    try:
        use = FileUse(part, alone=True)
    except DatabaseUnavailable:
        raise CopyFailed(f"{part} is being written by another process") from None
    with use:
        yield


@contextmanager
def _connect(path: Path, connect: Callable[[], sqlite3.Connection]) -> Iterator[Connection]:
    engine = create_engine(
        "sqlite://",
        creator=connect,
        poolclass=NullPool,
        json_deserializer=from_json,
        hide_parameters=True,
    )
    try:
        with engine.connect() as db:
            yield db
    except Exception as error:
        note_file(error, path)
        raise
