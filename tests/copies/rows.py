"""Rows for every table of a service, with a value of each kind in every column."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, select

from service_kit.database.copies import Contents, counters, rows
from service_kit.database.copies.connections import in_snapshot, is_sqlite, on_postgres
from service_kit.database.copies.files import filling
from service_kit.database.migrations import Migrations
from tests.conftest import SERVICES
from tests.copies.values import value_of

SINGLE = {"feed_head", "poller"}


class Copied:
    """A service's parts that the code of copies takes."""

    def __init__(self, service: str) -> None:
        self.migrations: Migrations = SERVICES[service].migrations()
        self.contents: Contents = import_module(f"{service}.copies").CONTENTS

    def digests(self, url: str) -> rows.Digests:
        """Hash all tables of a database, as it is."""
        return in_snapshot(
            self.migrations,
            url,
            lambda db: rows.digests(db, self.contents.tables, lambda _: None),
        )

    def fill(self, url: str, number: int = 30) -> None:
        """Write so many rows into each table, and the indexes that follow from them.

        Not into the one that remembers production, which commands in development refuse.
        """

        def work(db: Connection) -> None:
            for table in self.contents.tables:
                if table.name == "production":
                    continue
                if table.name in SINGLE:
                    db.execute(table.update().values(**_changed(table, number)))
                else:
                    db.execute(table.insert(), list(_rows(table, number)))
            self.contents.rebuild(db)
            counters.write(db, self.contents.tables, {})

        change(self.migrations, url, work)

    def fill_more(self, url: str) -> None:
        """Make the audit so large that it takes as much room as all else."""

        def work(db: Connection) -> None:
            audit = self.contents.metadata.tables["audit_entries"]
            db.execute(audit.insert(), list(_rows(audit, 2000))[100:])

        change(self.migrations, url, work)

    def counters(self, url: str) -> dict[str, int]:
        def work(db: Connection) -> dict[str, int]:
            return counters.read(db, self.contents.tables)

        return in_snapshot(self.migrations, url, work)

    def all(self, url: str, table: str) -> list[Any]:
        found = self.contents.metadata.tables[table]

        def work(db: Connection) -> list[Any]:
            return list(db.execute(select(found)).all())

        return in_snapshot(self.migrations, url, work)


def change(migrations: Migrations, url: str, work: Any) -> None:
    """Run a changing work on a database that nobody uses."""
    if is_sqlite(url):
        with filling(path_of(url)) as db:
            work(db)
    else:
        on_postgres(migrations, url, work)


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def _rows(table: Table, number: int) -> Iterator[dict[str, Any]]:
    for n in range(1, number + 1):
        yield {column.name: value_of(column, n) for column in table.c}


def _changed(table: Table, number: int) -> dict[str, Any]:
    if table.name == "feed_head":
        return {"last_position": number}
    return {"position": number - 1, "head_position": number, "cursor": "a-cursor"}
