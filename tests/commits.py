"""Counts what is committed in databases, and what of it a disk is waited for."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from sqlalchemy import Connection

from service_kit.database import Database
from service_kit.database.sqlite.connect import driver
from service_kit.database.sqlite.database import SqliteDatabase

_NUMBER = "SELECT pg_current_xact_id_if_assigned()::text"


@dataclass
class Commits:
    """Transactions that were committed, and those of them that had to be flushed.

    SQLite flushes a commit whose transaction has changed something. PostgreSQL flushes one whose
    transaction was given a number, for which it need only have locked a row.
    """

    commits: int = 0
    flushes: int = 0


@contextmanager
def commits_of(database: Database) -> Iterator[Commits]:
    """Count the commits of one process from now on."""
    counted = Commits()
    count = _on_sqlite if isinstance(database, SqliteDatabase) else _on_postgres
    with ExitStack() as patched:
        for name, counting in count(database, counted).items():
            patched.enter_context(mock.patch.object(database, name, counting))
        yield counted


def _on_sqlite(database: Any, counted: Commits) -> dict[str, Callable[..., Any]]:
    begin, commit = database._begin, database._commit
    changes = 0

    async def begin_counted() -> None:
        nonlocal changes
        await begin()
        changes = driver(database._writing).total_changes

    async def commit_counted(group: Any) -> None:
        counted.commits += 1
        counted.flushes += driver(database._writing).total_changes > changes
        await commit(group)

    return {"_begin": begin_counted, "_commit": commit_counted}


def _on_postgres(database: Any, counted: Commits) -> dict[str, Callable[..., Any]]:
    write, write_autocommit = database.write, database.write_autocommit

    async def write_counted(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        numbers = []

        def looked_after(db: Connection) -> Any:
            result = work(db, *args, **kwargs)
            numbers.append(db.exec_driver_sql(_NUMBER).scalar_one())
            return result

        result = await write(looked_after)
        counted.commits += 1
        counted.flushes += numbers[-1] is not None
        return result

    async def autocommit_counted(*given: Any, **more: Any) -> Any:
        result = await write_autocommit(*given, **more)
        counted.commits += 1
        counted.flushes += 1
        return result

    return {"write": write_counted, "write_autocommit": autocommit_counted}
