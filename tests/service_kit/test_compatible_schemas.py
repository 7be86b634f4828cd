"""What a newer release has made of a schema, and which older ones may run on it."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from crm_api.commands import main
from service_kit import VERSION
from service_kit.database import DatabaseUnavailable, migrations
from service_kit.database.errors import reason
from service_kit.database.migrations import Migrations, SchemaMismatch
from service_kit.database.migrations.release import Release, find_release
from tests.conftest import SERVICES, NewDatabase
from tests.service_kit.test_migrations import change, look, write_migration
from tests.system.processes import until

NEWER = "9.1.0"
TABLE = "CREATE TABLE steps (number INTEGER)"


def write(folder: Path, revision: str, down: str | None, statement: str, runs_with: str) -> None:
    """Write a migration that says on which older one its release can run."""
    write_migration(folder, revision, down, statement)
    path = folder / f"{revision}_test.py"
    path.write_text(f"{path.read_text()}compatible_with = {runs_with!r}\n")


def upgraded(url: str, folder: Path) -> Release:
    """Run the missing migrations. Returns what they leave about the schema."""
    newest = Migrations("boxes", folder)
    newest.upgrade(url)
    found = look(url, lambda db: find_release(db, newest.head))
    assert found is not None
    return found


def older(folder: Path, newest: str) -> Migrations:
    """Give the migrations of an older release, which lacks what came after a revision."""
    release = Migrations("boxes", folder)
    release.revisions = [one for one in release.revisions if one <= newest]
    return release


def test_a_schema_names_its_release_and_the_oldest_one_that_can_run_on_it(
    empty_database: str, tmp_path: Path
) -> None:
    write_migration(tmp_path, "0001", None, TABLE)
    assert upgraded(empty_database, tmp_path) == Release("0001", VERSION, "0001")

    write(tmp_path, "0002", "0001", "ALTER TABLE steps ADD COLUMN name TEXT", "0001")
    write(tmp_path, "0003", "0002", "ALTER TABLE steps ADD COLUMN note TEXT", "0001")
    assert upgraded(empty_database, tmp_path) == Release("0003", VERSION, "0001")

    write_migration(tmp_path, "0004", "0003", "ALTER TABLE steps DROP COLUMN name")
    write(tmp_path, "0005", "0004", "ALTER TABLE steps ADD COLUMN more TEXT", "0004")
    assert upgraded(empty_database, tmp_path) == Release("0005", VERSION, "0004")


def test_an_older_release_starts_where_every_migration_that_it_lacks_allows_it(
    empty_database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_migration(tmp_path, "0001", None, TABLE)
    write_migration(tmp_path, "0002", "0001", "ALTER TABLE steps ADD COLUMN name TEXT")
    write(tmp_path, "0003", "0002", "ALTER TABLE steps ADD COLUMN note TEXT", "0002")
    upgraded(empty_database, tmp_path)
    change(empty_database, f"UPDATE schema_release SET release = '{NEWER}'")  # noqa: S608
    caplog.set_level(logging.INFO)

    assert older(tmp_path, "0002").upgrade(empty_database) == "0003"

    look(empty_database, older(tmp_path, "0002").check)
    assert caplog.messages == [
        f"The schema is at 0003, made by release {NEWER}; this release, {VERSION}, can run on it."
    ]
    expected = (
        f"The schema is at 0003, made by release {NEWER}, and this release, {VERSION}, knows it up "
        f"to 0001 and can't run on it: start release {NEWER}, or restore a backup from before its "
        "upgrade."
    )
    too_old = older(tmp_path, "0001")
    for refuse in (too_old.upgrade, lambda url: look(url, too_old.check)):
        with pytest.raises(SchemaMismatch) as told:
            refuse(empty_database)
        assert str(told.value) == expected
    assert look(empty_database, lambda db: find_release(db, "0003")) is not None


def test_what_a_schema_says_of_another_revision_counts_for_nothing(
    empty_database: str, tmp_path: Path
) -> None:
    """As after a stamp by hand, or where a release has migrated that records nothing."""
    write_migration(tmp_path, "0001", None, TABLE)
    upgraded(empty_database, tmp_path)
    change(empty_database, "UPDATE alembic_version SET version_num = '0002'")

    with pytest.raises(SchemaMismatch, match=r"made by a newer release.*: start a newer release"):
        Migrations("boxes", tmp_path).upgrade(empty_database)


def newer_schema(url: str, compatible_with: str) -> None:
    """Make a database look as a newer release's."""
    change(url, "UPDATE alembic_version SET version_num = '9999'")
    values = f"revision = '9999', release = '{NEWER}', compatible_with = '{compatible_with}'"
    change(url, f"UPDATE schema_release SET {values}")  # noqa: S608


@pytest.mark.usefixtures("log_as_before")
@pytest.mark.parametrize("can_run", [True, False])
def test_commands_work_on_a_newer_schema_if_the_service_does_but_none_copies_it(
    new_database: NewDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    can_run: bool,
) -> None:
    url = new_database("crm_api")
    newer_schema(url, SERVICES["crm_api"].migrations().head if can_run else "9999")
    monkeypatch.setenv("DATABASE_URL", url)

    codes = [
        main(command)
        for command in (
            ["migrate"],
            ["prune-feed", "--older-than-days", "9"],
            ["backup", str(tmp_path / "backup.db")],
        )
    ]

    told = capsys.readouterr().err
    assert codes == ([0, 0, 1] if can_run else [2, 2, 1])
    assert told.count(f"{VERSION}, knows it up to") == (0 if can_run else 2)
    assert "its schema is at 9999, newer than this release's: run the command of the rel" in told
    assert not list(tmp_path.iterdir())


@contextmanager
def table_in_use(url: str) -> Iterator[threading.Event]:
    """Hold a lock on the table, as a long look at it does, until the event is set."""
    holds, is_over = threading.Event(), threading.Event()

    async def hold() -> None:
        connection = await asyncpg.connect(url)
        async with connection.transaction():
            await connection.execute("SELECT * FROM steps")
            holds.set()
            await asyncio.to_thread(is_over.wait, 60)
        await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(hold()))
    thread.start()
    assert holds.wait(60)
    try:
        yield is_over
    finally:
        is_over.set()
        thread.join()


@pytest.mark.engine("postgresql")
def test_a_migration_that_waits_for_a_table_lets_others_pass(
    empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "_TABLE_LOCK_SECONDS", 0.05)
    write_migration(tmp_path, "0001", None, TABLE, "CREATE SEQUENCE tries")
    upgraded(empty_database, tmp_path)
    # A sequence goes on also where the transaction is rolled back.
    more = ("SELECT nextval('tries')", "ALTER TABLE steps ADD COLUMN name TEXT")
    write_migration(tmp_path, "0002", "0001", *more)
    done: list[str | None] = []

    def migrate() -> None:
        done.append(Migrations("boxes", tmp_path).upgrade(empty_database))

    def has_tried_again() -> bool:
        query = "SELECT last_value FROM tries"
        return look(empty_database, lambda db: db.exec_driver_sql(query).scalar_one()) > 2

    with table_in_use(empty_database) as is_over:
        migrating = threading.Thread(target=migrate)
        migrating.start()
        until(has_tried_again, "it gives way and tries again")
        change(empty_database, "INSERT INTO steps VALUES (1)")
        assert migrating.is_alive()
        is_over.set()
        migrating.join(60)

    assert done == ["0001"]


@pytest.mark.engine("postgresql")
def test_a_migration_that_never_gets_its_table_says_so(
    empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "_TABLE_LOCK_SECONDS", 0.05)
    monkeypatch.setattr(migrations, "_LOCK_SECONDS", 0.1)
    write_migration(tmp_path, "0001", None, TABLE)
    upgraded(empty_database, tmp_path)
    write_migration(tmp_path, "0002", "0001", "ALTER TABLE steps ADD COLUMN name TEXT")

    with table_in_use(empty_database), pytest.raises(DatabaseUnavailable) as told:
        Migrations("boxes", tmp_path).upgrade(empty_database)

    assert reason(told.value) == "canceling statement due to lock timeout"
