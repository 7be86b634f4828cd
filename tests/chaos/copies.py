"""Copies of the services' databases, and putting one back: an operator with a backup."""

import asyncio
import shutil
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from tests.conftest import with_database
from tests.system.stack import Server, Stack


class Copies:
    """The newest copy of each database. A copy is taken, and put back, while nobody uses it."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        # By service: what the copy is called, and when it was begun.
        self._newest: dict[str, tuple[str, float]] = {}
        # All customers whom the CRM had before it was put back.
        self.had: set[str] = set()
        # What the CRM acknowledged from then to then may be gone.
        self.uncertain: list[tuple[float, float]] = []

    def is_there(self, server: Server) -> bool:
        return server.service in self._newest

    def take(self, server: Server) -> None:
        """Copy a database; its service is killed for it."""
        began_at = time.monotonic()
        self._end(server)
        name = f"copy_of_{server.service}_{len(self._newest)}_{int(began_at * 1000)}"
        if server.uses_sqlite:
            path = str(self._folder / f"{name}.db")
            source = f"file:{_path(server)}?mode=ro"
            with closing(sqlite3.connect(source, uri=True)) as one:  # noqa: SIM117
                with closing(sqlite3.connect(path)) as other:
                    one.backup(other)
            name = path
        else:
            own = urlsplit(server.database_url).path.removeprefix("/")
            self._run(server, _copying(own, name))
        self._newest[server.service] = name, began_at

    def put_back(self, server: Server) -> None:
        """Put the newest copy in a database's place; its service is killed for it."""
        name, copied_at = self._newest[server.service]
        self._end(server)
        if server is self._stack.crm:
            self.had |= {uid for (uid,) in server.rows("SELECT uid FROM customers")}
        if server.uses_sqlite:
            path = _path(server)
            for file in path.parent.glob(f"{path.name}*"):
                if not file.name.endswith(".lock"):
                    file.unlink()
            shutil.copy(name, path)
        else:
            own = urlsplit(server.database_url).path.removeprefix("/")
            self._run(
                server,
                f'DROP DATABASE "{own}" WITH (FORCE)',
                _copying(name, own),
            )
        if server is self._stack.crm:
            self.uncertain.append((copied_at, time.monotonic()))

    def drop(self) -> None:
        for service, (name, _) in self._newest.items():
            server = self._stack.server(service)
            if not server.uses_sqlite:
                self._run(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _end(self, server: Server) -> None:
        for one in self._stack.servers:
            if one.database_url == server.database_url:
                one.end()

    def _run(self, server: Server, *statements: str) -> None:
        asyncio.run(_execute(server.database_url, statements))


def _copying(source: str, name: str) -> str:
    """Write the statement that copies a database of PostgreSQL file by file, with a checkpoint.

    By its other strategy a copied sequence goes back behind what was used if the server crashes
    before the next checkpoint: it has numbers in store that the log of the copy does not tell.
    """
    return f'CREATE DATABASE "{name}" TEMPLATE "{source}" STRATEGY FILE_COPY'


def _path(server: Server) -> Path:
    return Path(server.database_url.removeprefix("sqlite:///"))


async def _execute(database_url: str, statements: Sequence[str]) -> None:
    """Run statements; of a database that is copied nobody else may be connected."""
    connection = await asyncpg.connect(with_database(database_url, "postgres"))
    try:
        for statement in statements:
            if statement.startswith("CREATE"):
                await _alone(connection, statement.split('"')[-2])
            await connection.execute(statement)
    finally:
        await connection.close()


async def _alone(connection: asyncpg.Connection, database: str) -> None:
    there = "FROM pg_stat_activity WHERE datname = $1"
    give_up_at = time.monotonic() + 10
    while await connection.fetch(f"SELECT pg_terminate_backend(pid) {there}", database):
        assert time.monotonic() < give_up_at, f"somebody stays connected to {database}"
        await asyncio.sleep(0.05)
