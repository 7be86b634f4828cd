"""Connections that stay open for works without a transaction: on PostgreSQL, those that read.

To take one from SQLAlchemy's pool, set it to autocommit and put it back costs three times as much
as the driver's way to the server and back.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import asyncpg
from sqlalchemy import Connection, Engine, QueuePool
from sqlalchemy.util import await_only

from service_kit.database.prepared import FETCH


class KeptConnections:
    """Lent out one by one, the last used first. To be used in greenlets of SQLAlchemy's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._idle: list[tuple[Connection, asyncpg.Connection]] = []

    @contextmanager
    def one(self) -> Iterator[Connection]:
        connection, driver = self._take()
        try:
            yield connection
        except asyncio.CancelledError:
            # What it was asked is still to be answered, and may never be.
            driver.terminate()
            raise
        finally:
            if driver.is_closed():
                _give_back(connection, driver)
            else:
                self._idle.append((connection, driver))

    def make_room(self) -> None:
        """Give one back to the pool where that has none left."""
        pool = self._engine.pool
        assert isinstance(pool, QueuePool)
        while self._idle and pool.checkedout() >= pool.size():
            _give_back(*self._idle.pop())

    def close(self) -> None:
        while self._idle:
            _give_back(*self._idle.pop())

    def _take(self) -> tuple[Connection, asyncpg.Connection]:
        while self._idle:
            connection, driver = self._idle.pop()
            if not driver.is_closed():
                return connection, driver
            _give_back(connection, driver)
        return self._open()

    def _open(self) -> tuple[Connection, asyncpg.Connection]:
        connection = self._engine.connect()
        driver = connection.connection.driver_connection
        assert isinstance(driver, asyncpg.Connection)

        def fetch(sql: str, given: Sequence[Any]) -> Sequence[Sequence[Any]]:
            found: Sequence[Sequence[Any]] = await_only(driver.fetch(sql, *given))
            return found

        connection.execution_options(isolation_level="AUTOCOMMIT", **{FETCH: fetch})
        # SQLAlchemy is to believe in one transaction without end; there is none.
        connection.begin()
        return connection, driver


def _give_back(connection: Connection, driver: asyncpg.Connection) -> None:
    if driver.is_closed():
        connection.invalidate()
    connection.close()
