"""Brings a database's schema up to date, and tells whether it is.

A migration is a file `NNNN_what_it_does.py` whose revision is NNNN. So the newest is known from the
file names, and a service whose schema is up to date starts without loading Alembic.

An older release can run on a newer schema where each migration that it lacks says so: its
`compatible_with` is the newest migration that a release must have. One that says nothing breaks
every release without it.
"""

import asyncio
import logging
import random
import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError

from service_kit import VERSION
from service_kit.database.errors import is_conflict, is_unavailable, raise_unavailable
from service_kit.database.migrations.release import find_release, record_release
from service_kit.database.moved import find_mark
from service_kit.database.sqlite.connect import (
    driver,
    file_of,
    note_file,
    refuse_damaged,
    sqlite_engine,
)
from service_kit.database.sqlite.snapshots import take_snapshot
from service_kit.database.sqlite.usage import FileUse

if TYPE_CHECKING:
    from alembic.config import Config

# Any number that all replicas share; only one of them migrates at a time.
_LOCK = 0x63726D
_LOCK_SECONDS = 60.0
# Whoever uses a table waits behind a migration that waits for it. So it gives way, and tries again.
_TABLE_LOCK_SECONDS = 2.0

# Which service a database belongs to, so that no other adds its tables to it.
_OWNER = Table("schema_owner", MetaData(), Column("service", String(100), primary_key=True))
_CREATED = re.compile(r"op\.create_table\(\s*[\"'](\w+)")

logger = logging.getLogger("service_kit")


Look = Callable[[Connection], None]


class SchemaMismatch(RuntimeError):
    """The database's schema is not the one that this version works with."""


class Migrations:
    """The migrations of one service."""

    def __init__(self, service: str, folder: Path) -> None:
        self.service = service
        self.folder = folder
        self.revisions = sorted(path.name[:4] for path in folder.glob("[0-9]*_*.py"))

    @property
    def head(self) -> str:
        return self.revisions[-1]

    @property
    def compatible_with(self) -> str:
        """Return the newest migration that a release must have, so as to run on this schema."""
        from alembic.script import ScriptDirectory

        scripts = ScriptDirectory.from_config(self._config()).walk_revisions()
        return max(getattr(one.module, "compatible_with", one.revision) for one in scripts)

    def upgrade(self, url: str, *, snapshots: int = 0, first: Look | None = None) -> str | None:
        """Run the missing migrations, under a lock. Returns the revision before them.

        So many snapshots of a SQLite file are kept, the one from before these migrations included.
        `first` looks at the database before anything is changed, and may raise.

        Raises SchemaMismatch where a newer release has made a schema that this one can't run on,
        DatabaseUnavailable, DurabilityMissing, or ValueError for a malformed URL.
        """
        try:
            if url.startswith("sqlite:"):
                return self._upgrade_sqlite(file_of(url), snapshots, first)
            return asyncio.run(self._upgrade_postgres(url, first))
        except Exception as error:
            raise_unavailable(error)
            raise

    def _upgrade_sqlite(self, path: Path, snapshots: int, first: Look | None) -> str | None:
        engine = sqlite_engine(path, busy_seconds=_LOCK_SECONDS)
        try:
            with FileUse(path), engine.connect() as connection:
                refuse_damaged(driver(connection), path)
                driver(connection).execute("BEGIN IMMEDIATE")
                with connection.begin():
                    found = usable_revision(connection)
                    if first is not None:
                        first(connection)
                    if snapshots and found in self.revisions[:-1]:
                        take_snapshot(path.resolve(), found, snapshots)
                    return self.upgrade_on(connection)
        except Exception as error:
            note_file(error, path)
            raise

    async def _upgrade_postgres(self, url: str, first: Look | None) -> str | None:
        # Loading it takes a tenth of a start, which a service on SQLite need not wait for.
        from service_kit.database.postgres.connect import Connections
        from service_kit.database.postgres.pool import AutocommitPool, PooledConnection
        from service_kit.database.postgres.sessions import is_lock_timeout, watch

        def upgrade(connection: Connection) -> str | None:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            connection.execute(text(f"SET LOCAL lock_timeout = '{_TABLE_LOCK_SECONDS}s'"))
            usable_revision(connection)
            if first is not None:
                first(connection)
            return self.upgrade_on(connection)

        async def upgrade_beside_others(connection: PooledConnection) -> str | None:
            give_up_at = time.monotonic() + _LOCK_SECONDS
            while True:
                try:
                    return await connection.run_in_transaction(upgrade)
                except Exception as error:
                    must_wait = is_lock_timeout(error) or is_conflict(error)
                    if not must_wait or time.monotonic() >= give_up_at:
                        raise
                    await asyncio.sleep(random.uniform(0.1, 1))  # noqa: S311

        limits = {"lock_timeout": f"{_LOCK_SECONDS * 1000:.0f}", "statement_timeout": "0"}
        connections = Connections(url, f"{self.service} migration {uuid.uuid4().hex[:8]}", **limits)
        pool = AutocommitPool(connections, size=1)
        try:
            async with pool.connection() as connection:
                # It may take hours, so it is watched instead of having a deadline.
                watching = asyncio.create_task(watch(connections, connection.driver))
                try:
                    return await upgrade_beside_others(connection)
                finally:
                    watching.cancel()
        finally:
            await pool.close()

    def upgrade_on(self, connection: Connection) -> str | None:
        """Run the missing migrations in a transaction of the caller's. Raises SchemaMismatch."""
        revision = current_revision(connection)
        self._own(connection, is_new=revision is None)
        if revision is not None and revision not in self.revisions:
            release = self._accept_newer(connection, revision)
            words = "The schema is at %s, made by release %s; this release, %s, can run on it."
            logger.info(words, revision, release, VERSION)
        elif revision != self.head:
            from alembic import command

            command.upgrade(self._config(connection), "head")
            record_release(connection, self.head, self.compatible_with)
        return revision

    def check(self, connection: Connection) -> None:
        """Raise SchemaMismatch unless the schema is this release's, or one that it can run on."""
        revision = usable_revision(connection)
        self.refuse_older(revision)
        if revision != self.head:
            self._accept_newer(connection, str(revision))

    def refuse_older(self, revision: str | None) -> None:
        """Raise SchemaMismatch where migrations are missing."""
        if revision is None or revision in self.revisions[:-1]:
            raise SchemaMismatch(
                f"its schema is at {revision or 'nothing'}: run 'python -m {self.service} migrate'."
            )

    def _accept_newer(self, connection: Connection, revision: str) -> str:
        """Return which release has made a schema whose newest migration this one doesn't know.

        Raises SchemaMismatch where this one can't run on it.
        """
        found = find_release(connection, revision)
        if found is not None and found.compatible_with in self.revisions:
            return found.release
        release = "a newer release" if found is None else f"release {found.release}"
        raise SchemaMismatch(
            f"The schema is at {revision}, made by {release}, and this release, {VERSION}, knows "
            f"it up to {self.head} and can't run on it: start {release}, or restore a backup from "
            "before its upgrade."
        )

    def refuse_other_owner(self, connection: Connection, *, is_new: bool = False) -> str | None:
        """Return whose database this is, if that is recorded.

        Raises SchemaMismatch where it is another service's.
        """
        owner = None
        if inspect(connection).has_table(_OWNER.name):
            owner = connection.execute(select(_OWNER)).scalar_one_or_none()
        elif not is_new and not inspect(connection).has_table(self._first_table()):
            owner = "another service"  # from before owners were recorded
        if owner not in {None, self.service}:
            raise SchemaMismatch(
                f"It holds the tables of {owner}. Give each service a database of its own: "
                f"DATABASE_URL of {self.service} must name another."
            )
        return owner

    def _own(self, connection: Connection, *, is_new: bool) -> None:
        """Record whose database this is. Raises SchemaMismatch where it is another service's."""
        if self.refuse_other_owner(connection, is_new=is_new) is None:
            _OWNER.create(connection, checkfirst=True)
            connection.execute(insert(_OWNER), {"service": self.service})

    def _first_table(self) -> str:
        """Return the name of a table that every database of this service has."""
        first = next(self.folder.glob(f"{self.revisions[0]}_*.py"))
        found = _CREATED.search(first.read_text())
        return found[1] if found else "alembic_version"

    def _config(self, connection: Connection | None = None) -> "Config":
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent))
        config.set_main_option("version_locations", str(self.folder))
        config.set_main_option("path_separator", "newline")
        config.attributes["connection"] = connection
        return config


def usable_revision(connection: Connection) -> str | None:
    """Return the revision a database is at. Raises SchemaMismatch where a move forbids its use."""
    if (mark := find_mark(connection)) is not None:
        raise SchemaMismatch(mark.refusal)
    return current_revision(connection)


def current_revision(connection: Connection) -> str | None:
    """Return the revision a database is at; None before the first."""
    try:
        with connection.begin_nested():
            revision: str | None = connection.execute(
                text("SELECT version_num FROM alembic_version")
            ).scalar_one_or_none()
    except DBAPIError as error:
        if is_unavailable(error):
            raise
        return None
    return revision
