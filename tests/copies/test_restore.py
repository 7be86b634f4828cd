"""A backup takes a database's place whole, on either engine, and only while nobody uses it."""

import asyncio
import os
import shutil
import sqlite3
import stat
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection, text

from crm_api.customers import service
from crm_api.customers import store as customers
from crm_api.customers.store import Filter
from crm_api.feed.models import events, feed_head
from crm_api.tokens.models import tokens
from service_kit.database import Database, DatabaseUnavailable, open_database
from service_kit.database.copies import JUMP, checksum, counters, manifest
from service_kit.database.copies.connections import in_snapshot
from service_kit.database.copies.files import alone, filling
from service_kit.web.auth import COMMAND_LINE
from tests.conftest import SERVICES, NewDatabase, run_sql
from tests.copies.conftest import Elsewhere, Run
from tests.copies.rows import Copied, change, path_of
from tests.copies.values import BEGAN_AT
from tests.service_kit.test_migrations import migrate_to

pytestmark = pytest.mark.slow

each_service = pytest.mark.parametrize("service", SERVICES)
on_sqlite = pytest.mark.engine("sqlite")


def rows_but_the_feeds_head(one: Copied, url: str) -> dict[str, Any]:
    return {name: found for name, found in one.digests(url).items() if name != "feed_head"}


@each_service
@pytest.mark.parametrize("to", ["same", "empty", "other engine"])
def test_all_rows_are_put_back_and_ids_go_on_a_million_further(
    service: str, to: str, new_database: NewDatabase, elsewhere: Elsewhere, run: Run, tmp_path: Path
) -> None:
    one, url, file = Copied(service), new_database(service), tmp_path / "copy.db"
    one.fill(url)
    assert run(service, url, "backup", file).code == 0
    before, given = rows_but_the_feeds_head(one, url), one.counters(url)
    target = elsewhere() if to == "other engine" else url
    if to == "same":
        change(one.migrations, url, lambda db: db.execute(text("DELETE FROM audit_entries")))
    elif url.startswith("sqlite"):
        path_of(target).unlink(missing_ok=True)

    ran = run(service, target, "restore", file)

    assert ran.code == 0, ran.err
    assert ran.out.startswith("Restored as of 20")
    assert rows_but_the_feeds_head(one, target) == before
    counted = [table.name for table in one.contents.tables if counters.never_reuses(table)]
    found = one.counters(target)
    assert {name: found[name] for name in counted} == {
        name: given.get(name, 0) + JUMP for name in counted
    }
    assert run(service, target, "migrate").code == 0
    assert SERVICES[service].migrations().upgrade(target) == one.migrations.head


def test_a_restored_crm_begins_a_new_epoch_behind_all_positions(
    new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    one, url, file = Copied("crm_api"), new_database("crm_api"), tmp_path / "copy.db"
    one.fill(url)
    [before] = one.all(url, "feed_head")
    run("crm_api", url, "backup", file)

    epochs = {before.epoch}
    for times in (1, 2):
        assert run("crm_api", url, "restore", file).code == 0
        [after] = one.all(url, "feed_head")
        epochs.add(after.epoch)
        assert after.last_position == before.last_position + times * JUMP
        # What a restore leaves out of the feed is no hole.
        assert run("crm_api", url, "backup", file).code == 0
        assert run("crm_api", url, "verify", file).code == 0
    assert len(epochs) == 3


HOLES = {
    "UPDATE events SET position = NULL WHERE position = 7": "a hole between positions 6 and 8",
    "UPDATE events SET position = NULL WHERE position = 1": "a hole between positions 0 and 2",
    "UPDATE events SET position = 29 + 1000002 WHERE position = 30": "a hole between positions 29",
    "UPDATE events SET position = NULL WHERE position = 30": "head is at 30, and its last event at",
    "UPDATE feed_head SET last_position = 29": "head is at 29, and its last event at 30",
    "UPDATE feed_head SET pruned_position = 4": "a hole between positions 4 and 1",
    "DELETE FROM feed_head": "the feed has 0 heads",
}


@on_sqlite
@pytest.mark.parametrize("statement", HOLES)
def test_a_feed_with_a_hole_is_told(
    statement: str, new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    one, url, file = Copied("crm_api"), new_database("crm_api"), tmp_path / "copy.db"
    one.fill(url)
    change(one.migrations, url, lambda db: db.execute(text(statement)))
    run("crm_api", url, "backup", file)

    ran = run("crm_api", url, "verify", file)

    assert (ran.code, HOLES[statement] in ran.out) == (1, True), ran.out


@on_sqlite
def test_positions_that_a_restore_has_left_out_are_no_hole(
    new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    one, url, file = Copied("crm_api"), new_database("crm_api"), tmp_path / "copy.db"
    one.fill(url)

    def leave_out(db: Connection) -> None:
        late = events.c.position > 20
        db.execute(events.update().where(late).values(position=events.c.position + 2 * JUMP))
        db.execute(feed_head.update().values(last_position=30 + 3 * JUMP))

    change(one.migrations, url, leave_out)
    run("crm_api", url, "backup", file)

    assert run("crm_api", url, "verify", file).code == 0


OTHER_FAULTS = {
    "inventory_api": (
        "UPDATE items SET tracked = true, sku = 'box', on_hand = 5 WHERE id = 3",
        "the books differ: box on_hand is 5, not 3",
    ),
    "integration_service": (
        "UPDATE poller SET position = 9, head_position = 8",
        "the ledger has read up to position 9 of a feed that ends at 8",
    ),
}


@on_sqlite
@pytest.mark.parametrize("service", OTHER_FAULTS)
def test_books_and_positions_that_do_not_agree_are_told(
    service: str, new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    statement, words = OTHER_FAULTS[service]
    one, url, file = Copied(service), new_database(service), tmp_path / "copy.db"
    one.fill(url)
    change(one.migrations, url, lambda db: db.execute(text(statement)))
    run(service, url, "backup", file)

    ran = run(service, url, "verify", file)

    assert (ran.code, words in ran.out) == (1, True), ran.out


@on_sqlite
def test_deliveries_that_are_due_though_finished_are_told(
    new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    one, url = Copied("integration_service"), new_database("integration_service")
    file = tmp_path / "copy.db"
    one.fill(url)
    statement = "UPDATE deliveries SET state = 'delivered' WHERE id IN (1, 2)"
    change(one.migrations, url, lambda db: db.execute(text(statement)))
    run("integration_service", url, "backup", file)

    assert "2 deliveries are due though" in run("integration_service", url, "verify", file).out


def test_what_is_replaced_is_kept_and_can_be_put_back(
    engine: str, new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    one, url, file = Copied("crm_api"), new_database("crm_api"), tmp_path / "copy.db"
    run("crm_api", url, "backup", file)
    one.fill(url)
    before = one.digests(url)

    ran = run("crm_api", url, "restore", file)

    assert one.digests(url) != before
    kept = Path(ran.out.splitlines()[-1].removeprefix("What it has replaced is in "))
    assert kept.name.startswith("copy.db" if engine == "postgresql" else path_of(url).name)
    assert ".replaced-20" in kept.name
    if engine == "sqlite":
        assert one.digests(f"sqlite:///{kept}") == before
        assert not list(path_of(url).parent.glob(f"{path_of(url).name}.part*"))
    else:
        assert run("crm_api", url, "restore", kept).code == 0
        assert rows_but_the_feeds_head(one, url) == {
            name: found for name, found in before.items() if name != "feed_head"
        }


def test_who_was_erased_since_the_backup_is_erased_again_and_what_was_revoked_stays_so(
    new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    one, url, file = Copied("crm_api"), new_database("crm_api"), tmp_path / "copy.db"
    one.fill(url)
    run("crm_api", url, "backup", file)
    revoked_at = datetime(2026, 1, 6, tzinfo=UTC)

    def erase(db: Connection) -> None:
        # Every third is not erased in the rows of these tests, nor are those tokens revoked.
        service.erase(db, 9, None, COMMAND_LINE)
        db.execute(tokens.update().where(tokens.c.id == 12).values(revoked_at=revoked_at))

    change(one.migrations, url, erase)

    ran = run("crm_api", url, "restore", file)

    assert "Done again, as since then: 2 erasures and revocations." in ran.out
    rows = {row.id: row for row in one.all(url, "customers")}
    assert rows[9].erased_at is not None
    assert (rows[9].name, rows[9].phone) == ("", None)
    assert rows[12].erased_at is None
    assert {row.id: row.revoked_at for row in one.all(url, "tokens")}[12] == revoked_at
    event = max(one.all(url, "events"), key=lambda row: row.id)
    assert (event.type, event.subject) == ("customer.erased", rows[9].uid)
    assert one.all(url, "audit_entries")[-1].actor == "command-line"
    if url.startswith("sqlite:"):
        assert "Ä9 email".encode() in file.read_bytes(), "else it would prove nothing"
        assert "Ä9 email".encode() not in path_of(url).read_bytes()
    again = run("crm_api", url, "restore", file)
    assert "Done again, as since then: 2 erasures" in again.out


@on_sqlite
def test_what_a_killed_service_left_in_its_log_is_kept_too(
    new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    one, url, file = Copied("crm_api"), new_database("crm_api"), tmp_path / "copy.db"
    run("crm_api", url, "backup", file)
    path = path_of(url)
    with closing(sqlite3.connect(path)) as living:
        living.execute("PRAGMA journal_mode = WAL")
        living.execute("UPDATE feed_head SET epoch = 'abababababababab'")
        living.commit()
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{tmp_path}/killed{suffix}")
    for old in path.parent.glob(f"{path.name}*"):
        old.unlink()
    shutil.copy(tmp_path / "killed", path)
    shutil.copy(tmp_path / "killed-wal", f"{path}-wal")

    ran = run("crm_api", url, "restore", file)

    kept = ran.out.split("is in ")[1].strip()
    assert one.all(f"sqlite:///{kept}", "feed_head")[0].epoch == "abababababababab"
    assert one.all(url, "feed_head")[0].epoch != "abababababababab"


@on_sqlite
def test_a_damaged_database_is_replaced_with_its_log(
    new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    one, url, file = Copied("crm_api"), new_database("crm_api"), tmp_path / "copy.db"
    one.fill(url)
    run("crm_api", url, "backup", file)
    before, path = rows_but_the_feeds_head(one, url), path_of(url)
    path.write_bytes(b"no database" * 1000)
    Path(f"{path}-wal").write_bytes(b"its log")

    ran = run("crm_api", url, "restore", file)

    assert ran.code == 0, ran.err
    assert "What was erased since then can't be read any more: erase it again." in ran.out
    assert rows_but_the_feeds_head(one, url) == before
    kept = ran.out.split("is in ")[1].strip()
    assert Path(kept).read_bytes() == b"no database" * 1000
    assert not Path(f"{path}-wal").exists()


def test_a_database_in_use_is_not_replaced(
    engine: str, new_database: NewDatabase, run: Run, tmp_path: Path, monkeypatch: Any
) -> None:
    one, url, file = Copied("crm_api"), new_database("crm_api"), tmp_path / "copy.db"
    one.fill(url)
    run("crm_api", url, "backup", file)
    before = one.digests(url)
    shorten_waits(monkeypatch)

    for used in (through_the_kit, by_another_program):
        with closing(used(url)):
            for command in (("restore", file), ("move", "--to", other_of(engine, tmp_path))):
                ran = run("crm_api", url, *command)
                assert (ran.code, ran.out) == (1, ""), command
                assert "in use: stop every process that" in ran.err
                if engine == "postgresql":
                    assert "(crm_api)" in ran.err or "(psql)" in ran.err

    assert one.digests(url) == before
    assert run("crm_api", url, "restore", file).code == 0


@pytest.mark.engine("postgresql")
def test_a_service_that_is_named_in_its_url_is_found_too(
    new_database: NewDatabase, run: Run, tmp_path: Path, monkeypatch: Any
) -> None:
    url, file = f"{new_database('crm_api')}&application_name=shop", tmp_path / "copy.db"
    run("crm_api", url, "backup", file)
    shorten_waits(monkeypatch)

    with closing(through_the_kit(url)):
        ran = run("crm_api", url, "restore", file)

    assert (ran.code, "(shop)" in ran.err) == (1, True), ran.err
    assert run("crm_api", url, "restore", file).code == 0


def other_of(engine: str, folder: Path) -> str:
    if engine == "postgresql":
        return f"sqlite:///{folder}/other.db"
    return "postgresql://postgres@127.0.0.1:1/other"


def shorten_waits(monkeypatch: Any) -> None:
    """Give up at once where nobody is about to leave."""
    for place, seconds in {
        "sqlite.usage.WAIT_SECONDS": 0.1,
        "copies.files.BUSY_SECONDS": 0.1,
        "copies.connections._LAST_SESSIONS_SECONDS": 0.1,
    }.items():
        monkeypatch.setattr(f"service_kit.database.{place}", seconds)


class _Held:
    """Something that is open in an event loop of its own."""

    def __init__(self, opened: Any) -> None:
        self._runner = asyncio.Runner()
        self._opened = self._runner.run(opened)

    def close(self) -> None:
        self._runner.run(self._opened.close())
        self._runner.close()


def through_the_kit(url: str) -> Any:
    async def opened() -> Database:
        database = open_database(url, "crm_api", pool_size=2)
        await database.open()
        return database

    return _Held(opened())


def by_another_program(url: str) -> Any:
    if url.startswith("sqlite:"):
        connection = sqlite3.connect(path_of(url))
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("SELECT count(*) FROM customers").fetchall()
        return connection
    return _Held(asyncpg.connect(url, server_settings={"application_name": "psql"}))


@on_sqlite
async def test_nobody_opens_a_database_while_it_is_replaced(
    new_database: NewDatabase, monkeypatch: Any
) -> None:
    url = new_database("crm_api")
    shorten_waits(monkeypatch)
    database = open_database(url)

    with alone(path_of(url)), pytest.raises(DatabaseUnavailable, match="is restoring or moving it"):
        await database.open()
    with alone(path_of(url)), pytest.raises(DatabaseUnavailable, match="is restoring or moving it"):
        SERVICES["crm_api"].migrations().upgrade(url)

    await database.open()
    await database.close()
    assert not list(path_of(url).parent.glob(f"{path_of(url).name}.in-use"))


@on_sqlite
def test_the_database_of_another_service_is_not_replaced(
    new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    file, other = tmp_path / "copy.db", new_database("inventory_api")
    run("crm_api", new_database("crm_api"), "backup", file)
    before = Copied("inventory_api").digests(other)

    ran = run("crm_api", other, "restore", file)

    assert ran.code == 1
    assert "It holds the tables of inventory_api" in ran.err
    assert Copied("inventory_api").digests(other) == before


@on_sqlite
@pytest.mark.parametrize("folder", [0o700, 0o770])
def test_a_restored_file_has_the_mode_of_a_new_database(
    folder: int, new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    file, place = tmp_path / "copy.db", tmp_path / "data"
    run("crm_api", new_database("crm_api"), "backup", file)
    place.mkdir()
    place.chmod(folder)

    assert run("crm_api", f"sqlite:///{place}/crm.db", "restore", file).code == 0

    assert stat.S_IMODE((place / "crm.db").stat().st_mode) == folder & 0o660
    assert os.listdir(place) == ["crm.db"]  # noqa: PTH208 (their names)


def test_a_backup_of_an_older_schema_is_brought_up_to_date(
    engine: str, new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    one, url = Copied("crm_api"), new_database("crm_api")
    file = older_backup(tmp_path)

    checked = run("crm_api", url, "verify", file)
    ran = run("crm_api", url, "restore", file)

    assert (checked.code, ", schema 0012\n" in checked.out) == (0, True), checked.out
    assert ran.code == 0, ran.err
    assert [row.name for row in one.all(url, "customers")] == ["Ada"]
    assert one.all(url, "feed_readers") == []


def older_backup(folder: Path) -> Path:
    """Make what the release before the newest migration would have made."""
    older = folder / "older.db"
    migrate_to("0012", "crm_api", f"sqlite:///{older}", folder / "migrations")
    with closing(sqlite3.connect(older)) as database:
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute(ADA)
        database.commit()
    write_manifest(older)
    return older


ADA = """
    INSERT INTO customers (uid, name, email, email_key, metadata, created_at, updated_at, version)
    VALUES ('u', 'Ada', 'a@example.com', 'a@example.com', '{}', '2026-01-05 12:00:00.000000',
            '2026-01-05 12:00:00.000000', 1)
"""


def write_manifest(path: Path) -> None:
    with filling(path) as db:
        about = manifest.Manifest("crm_api", "0012", "0.4.0", "sqlite", BEGAN_AT)
        blank = manifest.write(db, about)
    checksum.seal(path, blank)


def test_a_restored_crm_is_searched_as_before(
    new_database: NewDatabase, elsewhere: Elsewhere, run: Run, tmp_path: Path
) -> None:
    one, url, file = Copied("crm_api"), new_database("crm_api"), tmp_path / "copy.db"
    one.fill(url)
    run("crm_api", url, "backup", file)
    target = elsewhere()
    assert run("crm_api", target, "restore", file).code == 0

    def found(db: Connection) -> list[int]:
        return [row.id for row in customers.page(db, Filter(q="ä9 NAME"), None, 10, None).rows]

    assert ids_found(one, target, found) == ids_found(one, url, found) != []


def ids_found(one: Copied, url: str, work: Callable[[Connection], list[int]]) -> list[int]:
    return in_snapshot(one.migrations, url, work)


@pytest.mark.engine("postgresql")
def test_a_session_of_another_role_is_found_though_its_name_is_hidden(
    new_database: NewDatabase, run: Run, tmp_path: Path, monkeypatch: Any
) -> None:
    url, file = new_database("crm_api"), tmp_path / "copy.db"
    role = f"owner_{uuid.uuid4().hex[:8]}"
    run_sql(url, f"CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA public TO {role}")
    run_sql(url, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    own = url.replace("postgres:@", f"{role}@")
    run("crm_api", url, "backup", file)
    shorten_waits(monkeypatch)

    with closing(by_another_program(url)):
        ran = run("crm_api", own, "restore", file)

    assert ran.code == 1
    assert "in use: stop every process that" in ran.err
    run_sql(url, f"DROP OWNED BY {role}; DROP ROLE {role}")
