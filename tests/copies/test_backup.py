"""A backup is one instant of a database that others go on using, and says when it is not whole."""

import asyncio
import re
import sqlite3
import stat
import subprocess
import sys
import threading
import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import pytest
from sqlalchemy import Connection, text

from crm_api.customers import service as customers
from inventory_api.items.models import items
from inventory_api.package_requests.models import erased_customers
from service_kit.database import open_database
from service_kit.web.auth import COMMAND_LINE
from tests.conftest import ROOT, SERVICES, NewDatabase
from tests.copies.conftest import Run
from tests.copies.rows import Copied, change, path_of
from tests.system.processes import until

pytestmark = pytest.mark.slow

# What the kit itself keeps about a schema.
KIT = {"alembic_version", "schema_owner", "schema_release"}
each_service = pytest.mark.parametrize("service", SERVICES)
on_sqlite = pytest.mark.engine("sqlite")

AHEAD = (
    "UPDATE alembic_version SET version_num = '9999';UPDATE backup_manifest SET revision = '9999'"
)
CHANGED = "it has changed since it was written: its SHA-256 is another"
# What may befall a backup of the CRM, and what is then said of it.
DAMAGE = {
    "UPDATE customers SET name = 'Eve' WHERE id = 3": CHANGED,
    "DELETE FROM audit_entries WHERE id = 3": CHANGED,
    "DROP TABLE pruned_registrations": CHANGED,
    "UPDATE backup_manifest SET taken_at = '2026-01-05 12:00:00.000000'": CHANGED,
    "UPDATE backup_manifest SET sha256 = ''": CHANGED,
    "DELETE FROM backup_manifest": "it has no manifest, so it is no backup",
    "DROP TABLE backup_manifest": "it has no manifest, so it is no backup",
    "UPDATE alembic_version SET version_num = '0001'": "its schema is at 0001, not at ",
    AHEAD: "its schema is at 9999, this version knows it up to ",
    "DELETE FROM customers WHERE id = 4": "a row of tickets refers to none of customers",
    "UPDATE backup_manifest SET service = 'inventory_api'": "it is a backup of inventory_api, not",
}


def execute(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(script)


@each_service
def test_a_backup_has_all_rows_and_nothing_else_is_left(
    service: str, new_database: NewDatabase, run: Run, tmp_path: Path, engine: str
) -> None:
    one, url, file = Copied(service), new_database(service), tmp_path / "copy.db"
    one.fill(url)
    assert [name for name, found in one.digests(url).items() if not found.rows] == ["production"]

    ran = run(service, url, "backup", file)

    rows = sum(found.rows for found in one.digests(url).values())
    tables = len(one.contents.tables)
    assert (ran.code, ran.out) == (0, f"{file}: {rows} rows of {tables} tables\n"), ran.err
    assert re.search(r"(rows|pages): (\d+) of \2\n", ran.err), ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["copy.db"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # It is a whole database of its own: with the schema, the counters, the search.
    copy = f"sqlite:///{file}"
    assert one.digests(copy) == one.digests(url)
    given = {name: last for name, last in one.counters(url).items() if name != "feed_head"}
    assert one.counters(copy).items() <= given.items()


@each_service
def test_a_backup_is_verified_without_its_database(
    service: str, new_database: NewDatabase, run: Run, tmp_path: Path, engine: str
) -> None:
    file = tmp_path / "copy.db"
    assert run(service, new_database(service), "backup", file).code == 0

    ran = run(service, "postgresql://nobody@127.0.0.1:1/none", "verify", file)

    assert ran.code == 0
    assert ran.out.startswith(f"{file}: whole; taken 20")
    assert f" by 0.4.0 from {engine}, schema " in ran.out
    file.chmod(0o400)
    assert run(service, "", "verify", file).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["copy.db"]


@on_sqlite
@pytest.mark.parametrize("statement", DAMAGE)
def test_what_has_befallen_a_backup_is_told(
    statement: str, new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    one, url, file = Copied("crm_api"), new_database("crm_api"), tmp_path / "copy.db"
    one.fill(url)
    run("crm_api", url, "backup", file)
    before = one.digests(url)
    execute(file, statement)

    ran = run("crm_api", url, "verify", file)
    restored = run("crm_api", url, "restore", file)

    assert ran.code == 1
    assert DAMAGE[statement] in ran.out
    assert ran.err.count("Traceback") == 0
    assert restored.code == 1
    assert f"{file} is not restored: " in restored.err
    assert one.digests(url) == before


@on_sqlite
def test_damaged_pages_are_told(new_database: NewDatabase, run: Run, tmp_path: Path) -> None:
    url, file = new_database("crm_api"), tmp_path / "copy.db"
    Copied("crm_api").fill(url, 500)
    run("crm_api", url, "backup", file)
    with file.open("r+b") as opened:
        for page in range(20, 40):
            opened.seek(4096 * page)
            opened.write(b"\xa5" * 4096)
    cut, text_file = tmp_path / "cut.db", tmp_path / "text.db"
    cut.write_bytes(file.read_bytes()[: 4096 * 9])
    text_file.write_text("no database at all" * 500)

    for one in (file, cut, text_file):
        ran = run("crm_api", url, "verify", one)
        assert ran.code == 1, one
        assert "damaged" in ran.out or "can't be read" in ran.out, ran.out


@on_sqlite
def test_a_backup_of_another_service_is_not_restored(
    new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    file, url = tmp_path / "inventory.db", new_database("crm_api")
    run("inventory_api", new_database("inventory_api"), "backup", file)

    ran = run("crm_api", url, "restore", file)

    assert ran.code == 1
    assert "it is a backup of inventory_api, not of crm_api" in ran.err


@on_sqlite
def test_only_a_backup_of_this_service_is_replaced(
    new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    url, other = new_database("crm_api"), tmp_path / "other.db"
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    own = tmp_path / "own.db"
    run("inventory_api", new_database("inventory_api"), "backup", other)
    link = tmp_path / "link.db"
    link.symlink_to(path_of(url))
    cases = {
        notes: "is there, and is no backup: name another file",
        other: "is there, and is a backup of inventory_api: name another file",
        path_of(url): "is the database itself: name another file",
        link: "is the database itself: name another file",
        tmp_path / "no" / "such.db": "is no folder",
    }
    for path, words in cases.items():
        before = path.read_bytes() if path.exists() else None
        ran = run("crm_api", url, "backup", path)
        assert (ran.code, ran.out) == (1, ""), path
        assert ran.err.startswith("crm_api: ")
        assert words in ran.err
        assert ran.err.count("\n") == 1
        assert before == (path.read_bytes() if path.exists() else None)

    assert run("crm_api", url, "backup", own).code == 0
    change(Copied("crm_api").migrations, url, _set_epoch)
    assert run("crm_api", url, "backup", own).code == 0
    assert Copied("crm_api").all(f"sqlite:///{own}", "feed_head")[0].epoch == "ab" * 8


def _set_epoch(db: Connection) -> None:
    db.execute(text("UPDATE feed_head SET epoch = 'abababababababab'"))


def test_a_database_that_is_not_there_or_not_migrated_is_told(
    engine: str, new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    if engine == "sqlite":
        ran = run("crm_api", f"sqlite:///{tmp_path}/none.db", "backup", tmp_path / "copy.db")
        assert (ran.code, "there is none at" in ran.err) == (1, True)
    other = run("crm_api", new_database("inventory_api"), "backup", tmp_path / "copy.db")
    assert other.code == 1
    assert "It holds the tables of inventory_api" in other.err
    assert not list(tmp_path.iterdir())


class Writers:
    """Two threads that write as fast as they can, until they are stopped."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ending = threading.Event()
        self.wrote = 0
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, number: int) -> None:
        """Wait until so many more changes are committed."""
        goal = self.wrote + number
        until(lambda: self.wrote >= goal, "they write")

    def _run(self) -> None:
        asyncio.run(self._write())

    async def _write(self) -> None:
        database = open_database(self._url, pool_size=2)
        await database.open()
        try:
            while not self._ending.is_set():
                await database.write(move_one)
                self.wrote += 1
        finally:
            await database.close()


def move_one(db: Connection) -> None:
    """Move one from the first item to the last, and count that in the rows of another table."""
    first, last = items.c.id == 1, items.c.id == 30
    moved = {"on_hand": items.c.on_hand - 1, "version": items.c.version + 1}
    db.execute(items.update().where(first).values(**moved))
    db.execute(items.update().where(last).values(on_hand=items.c.on_hand + 1))
    row = {"customer_id": uuid.uuid4().hex, "erased_at": datetime.now(UTC)}
    db.execute(erased_customers.insert(), row)


def test_under_load_a_backup_is_of_one_instant(
    new_database: NewDatabase, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes: no writer makes it begin again."""
    monkeypatch.setattr("service_kit.database.copies.backup.PAGES_AT_ONCE", 2)
    one, url = Copied("inventory_api"), new_database("inventory_api")
    one.fill(url)
    change(one.migrations, url, lambda db: db.execute(items.update().values(on_hand=10**9)))
    file = tmp_path / "copy.db"
    seen = set()

    with Writers(url) as writers:
        for _ in range(4):
            writers.wait_for(20)
            assert run("inventory_api", url, "backup", file).code == 0
            copied = {item.id: item for item in one.all(f"sqlite:///{file}", "items")}
            erased = len(one.all(f"sqlite:///{file}", "erased_customers"))
            assert sum(item.on_hand for item in copied.values()) == 30 * 10**9
            assert copied[1].version - 1 == erased - 30
            seen.add(erased)

    assert len(seen) == 4


def test_what_was_erased_is_in_no_page_of_a_backup(
    new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    one, url, file = Copied("crm_api"), new_database("crm_api"), tmp_path / "copy.db"
    one.fill(url)
    run("crm_api", url, "backup", file)
    assert "Ä9 email".encode() in file.read_bytes(), "else it would prove nothing"

    change(one.migrations, url, lambda db: customers.erase(db, 9, None, COMMAND_LINE))
    assert run("crm_api", url, "backup", file).code == 0

    assert "Ä9 email".encode() not in file.read_bytes()


@on_sqlite
@each_service
def test_no_table_is_left_out(service: str, new_database: NewDatabase) -> None:
    """Also where nothing has been imported but what a copy needs."""
    script = f"import {service}.copies as c; print(*(t.name for t in c.CONTENTS.tables))"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    with closing(sqlite3.connect(path_of(new_database(service)))) as database:
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        there = {name for (name,) in database.execute(query)}

    derived = {name for name in there if re.match("(customer|ticket)_search", name)}
    assert set(ran.stdout.split()) == there - derived - KIT
