"""What SQLite brings with it: groups that share a commit, one writer, a disk that may be full."""

import asyncio
import contextlib
import os
import re
import resource
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from service_kit.database import (
    DatabaseBusy,
    DatabaseUnavailable,
    open_database,
)
from service_kit.database.errors import reason
from service_kit.database.sqlite import database as sqlite
from service_kit.database.sqlite import groups
from service_kit.database.sqlite.connect import driver, sqlite_engine
from service_kit.database.sqlite.database import SqliteDatabase
from tests.service_kit.conftest import LabelTaken, Work, add, labels

pytestmark = pytest.mark.engine("sqlite")

PATIENCE = 0.1
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def path(database_url: str) -> Path:
    return Path(database_url.removeprefix("sqlite:///"))


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    """Connect as another process would."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@pytest.fixture
def commits(database: SqliteDatabase) -> list[str]:
    """Count the transactions that the writing connection ends, as they end."""
    ended: list[str] = []
    driver(database._writing).set_trace_callback(
        lambda statement: ended.append(statement) if statement in {"COMMIT", "ROLLBACK"} else None
    )
    return ended


def write_many(database: SqliteDatabase, count: int) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(database.write(add, f"box-{number}")) for number in range(count)]


def add_without_parent(db: Connection) -> None:
    """Change what only the commit finds out to be wrong."""
    db.execute(text("CREATE TABLE IF NOT EXISTS lids (box INTEGER REFERENCES boxes (id))"))
    db.execute(text("PRAGMA defer_foreign_keys = ON"))
    db.execute(text("INSERT INTO lids VALUES (999)"))


def add_all_at_once(db: Connection) -> None:
    """Add more than there is room for, in a statement that SQLite undoes alone."""
    db.execute(
        text(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
            " INSERT INTO boxes (label, shelf) SELECT hex(zeroblob(500)) || i, 0 FROM n"
        )
    )


def add_one_by_one(db: Connection) -> None:
    """Add more than there is room for, in statements that SQLite undoes with all before them."""
    db.execute(text("CREATE TABLE IF NOT EXISTS notes (text)"))
    for _ in range(100):
        db.execute(text("INSERT INTO notes VALUES (zeroblob(4000))"))


def limit_pages(database: SqliteDatabase, more: int) -> None:
    connection = driver(database._writing)
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + more}")


@contextlib.contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let this process make no file longer, as a disk that is full would."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, unlimited[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)


def remove(path: Path) -> None:
    path.unlink()


def is_there(path: Path) -> bool:
    return path.exists()


def replace(path: Path, what: str) -> None:
    """Put something else where the database was."""
    path.rename(path.with_suffix(".away"))
    if what == "a folder":
        path.mkdir()
    else:
        path.write_text("These are not pages of a database. " * 100)


@pytest.mark.parametrize("verb", ["read", "scan", "write"])
async def test_every_connection_has_the_settings_that_the_promises_need(
    database: SqliteDatabase, verb: str
) -> None:
    def settings(db: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "query_only")
        return [db.execute(text(f"PRAGMA {name}")).scalar_one() for name in names]

    assert await getattr(database, verb)(settings) == ["wal", 2, 1, int(verb != "write")]


@pytest.mark.parametrize("verb", ["read", "scan"])
async def test_a_reading_work_can_change_nothing(database: SqliteDatabase, verb: str) -> None:
    with pytest.raises(DatabaseUnavailable):
        await getattr(database, verb)(add, "box")

    assert await database.read(labels) == []


async def test_writes_that_wait_together_share_one_transaction(
    database: SqliteDatabase, commits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "GROUP_SECONDS", 60)

    await asyncio.gather(*write_many(database, 100))

    assert commits == ["COMMIT"]


async def test_a_group_is_bounded_in_works(
    database: SqliteDatabase, commits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "GROUP_SECONDS", 60)
    monkeypatch.setattr(groups, "GROUP_WRITES", 10)

    await asyncio.gather(*write_many(database, 100))

    assert commits == ["COMMIT"] * 10


async def test_a_group_is_bounded_in_time(
    database: SqliteDatabase, commits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "GROUP_SECONDS", 0.000001)

    await asyncio.gather(*write_many(database, 20))

    assert len(commits) > 1
    assert len(await database.read(labels)) == 20


async def test_only_what_fails_half_way_has_its_group_run_again(
    database: SqliteDatabase, commits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "GROUP_SECONDS", 60)
    ran: list[str] = []

    def work(db: Connection, label: str, times: int) -> None:
        ran.append(label)
        for _ in range(times):
            add(db, label)

    async def write(*works: tuple[str, int]) -> list[bool]:
        ran.clear()
        answers = await asyncio.gather(
            *(database.write(work, *one) for one in works), return_exceptions=True
        )
        return [isinstance(answer, LabelTaken) for answer in answers]

    assert await write(("one", 1), ("two", 1)) == [False, False]
    assert await write(("three", 1), ("one", 1), ("four", 1)) == [False, True, False]
    assert ran == ["three", "one", "four"]
    assert await write(("five", 1), ("six", 2), ("seven", 1)) == [False, True, False]
    assert ran == ["five", "six", "five", "six", "seven"]
    assert await database.read(labels) == ["one", "two", "three", "four", "five", "seven"]
    assert commits == ["COMMIT"] * 2 + ["ROLLBACK"] + ["COMMIT"] * 2


async def test_a_work_that_ends_the_transaction_is_a_bug_that_changes_nothing(
    database: SqliteDatabase,
) -> None:
    def end(db: Connection) -> None:
        driver(db).execute("ROLLBACK")

    writes = [*write_many(database, 2), asyncio.create_task(database.write(end))]
    answers = await asyncio.gather(*writes, return_exceptions=True)

    assert [type(answer) for answer in answers] == [RuntimeError] * 3
    assert await database.read(labels) == []
    assert await asyncio.gather(*write_many(database, 2)) == [1, 2]


async def test_a_commit_that_fails_is_told_to_its_whole_group(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "GROUP_SECONDS", 60)
    writes = [*write_many(database, 3), asyncio.create_task(database.write(add_without_parent))]

    answers = await asyncio.gather(*writes, return_exceptions=True)

    assert [type(answer) for answer in answers] == [sqlite3.IntegrityError] * 4
    assert await database.read(labels) == []
    assert await asyncio.gather(*write_many(database, 3)) == [1, 2, 3]


async def test_a_commit_that_fails_is_no_news(database: SqliteDatabase) -> None:
    next_commit = database.committed.next()
    with pytest.raises(sqlite3.IntegrityError):
        await database.write(add_without_parent)

    assert not next_commit.done()


async def test_a_write_waits_while_another_process_writes(
    database: SqliteDatabase, other: sqlite3.Connection
) -> None:
    other.execute("BEGIN IMMEDIATE")
    [writing] = write_many(database, 1)
    assert (await asyncio.wait([writing], timeout=PATIENCE))[0] == set()
    other.execute("INSERT INTO boxes (label, shelf) VALUES ('other', 0)")
    other.execute("COMMIT")

    await asyncio.wait_for(writing, 5)

    assert await database.read(labels) == ["other", "box-0"]


async def test_reads_go_on_while_another_process_writes(
    database: SqliteDatabase, other: sqlite3.Connection
) -> None:
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO boxes (label, shelf) VALUES ('other', 0)")

    assert await database.read(labels) == []
    assert await database.scan(labels) == []


async def test_a_reading_work_that_stops_half_way_leaves_no_snapshot_open(
    database: SqliteDatabase, other: sqlite3.Connection
) -> None:
    def stop(db: Connection) -> None:
        assert db.execute(text("SELECT label FROM boxes")).first() is not None
        raise LabelTaken("stopped")

    for label in ("box-0", "box-1"):
        await database.write(add, label)
    with pytest.raises(LabelTaken):
        await database.read(stop)
    other.execute("INSERT INTO boxes (label, shelf) VALUES ('other', 0)")

    assert await database.read(labels) == ["box-0", "box-1", "other"]


async def test_a_write_gives_up_on_a_lock_that_stays_and_the_next_one_works(
    database: SqliteDatabase, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", PATIENCE)
    other.execute("BEGIN IMMEDIATE")

    answers = await asyncio.gather(*write_many(database, 3), return_exceptions=True)

    assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 3
    other.execute("ROLLBACK")
    assert await asyncio.gather(*write_many(database, 3)) == [1, 2, 3]


async def test_a_caller_that_goes_away_before_its_turn_leaves_nothing(
    database: SqliteDatabase, other: sqlite3.Connection
) -> None:
    other.execute("BEGIN IMMEDIATE")
    writes = write_many(database, 3)
    await asyncio.sleep(0)
    writes[1].cancel()
    other.execute("ROLLBACK")

    await asyncio.gather(writes[0], writes[2])

    assert await database.read(labels) == ["box-0", "box-2"]


async def test_a_full_queue_takes_no_more(
    database: SqliteDatabase, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "QUEUED_WRITES", 3)
    other.execute("BEGIN IMMEDIATE")
    writes = write_many(database, 3)
    await asyncio.sleep(0)

    with pytest.raises(DatabaseBusy):
        await database.write(add, "one too many")

    other.execute("ROLLBACK")
    assert await asyncio.gather(*writes) == [1, 2, 3]
    assert await database.write(add, "later") == 4


async def test_a_lock_that_stays_does_not_keep_a_database_from_closing(
    database: SqliteDatabase, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", PATIENCE)
    other.execute("BEGIN IMMEDIATE")
    [writing] = write_many(database, 1)
    await asyncio.sleep(0)

    await asyncio.wait_for(database.close(), 5)

    with pytest.raises(DatabaseUnavailable):
        await writing


@pytest.mark.parametrize("work", [add_one_by_one, add_all_at_once])
async def test_a_full_disk_is_survived(database: SqliteDatabase, work: Work) -> None:
    await database.write(add, "before")
    limit_pages(database, more=5)
    works = [(add, "box-0"), (work,), (add, "box-1")]

    writes = [asyncio.create_task(database.write(*one)) for one in works]
    answers = await asyncio.gather(*writes, return_exceptions=True)

    assert isinstance(answers[1], DatabaseUnavailable)
    assert "no room" in answers[1].detail
    kept = [f"box-{number}" for number in (0, 1) if isinstance(answers[2 * number], int)]
    assert await database.read(labels) == ["before", *kept]
    limit_pages(database, more=5000)
    await database.write(work)
    assert await database.write(add, "after")


async def test_a_disk_that_fails_at_the_commit_is_survived(
    database: SqliteDatabase, path: Path
) -> None:
    await database.write(add, "before")
    journal = path.with_name(path.name + "-wal")

    with files_end_at(os.stat(journal).st_size):  # noqa: PTH116 (it doesn't wait)
        answers = await asyncio.gather(*write_many(database, 3), return_exceptions=True)
        assert await database.read(labels) == ["before"]
        # Reading goes on, and still this is no database to send changes to.
        with pytest.raises(DatabaseUnavailable):
            await database.ping()

    await database.ping()
    assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 3
    assert len(await asyncio.gather(*write_many(database, 3))) == 3


async def test_a_scan_that_never_ends_is_ended(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "SCAN_SECONDS", PATIENCE)

    with pytest.raises(DatabaseUnavailable):
        await asyncio.wait_for(database.scan(lambda db: db.execute(text(ENDLESS)).all()), 5)


async def test_a_scan_sees_one_snapshot(database: SqliteDatabase, path: Path) -> None:
    def look_twice(db: Connection) -> list[list[str]]:
        before = labels(db)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("INSERT INTO boxes (label, shelf) VALUES ('other', 0)")
        return [before, labels(db)]

    assert await database.scan(look_twice) == [[], []]
    assert await database.scan(labels) == ["other"]


async def test_reads_and_writes_go_on_beside_a_scan(database: SqliteDatabase) -> None:
    scanning = asyncio.create_task(database.scan(lambda db: db.execute(text(ENDLESS)).all()))
    await asyncio.sleep(0)

    await database.write(add, "box")
    assert await database.read(labels) == ["box"]
    assert not scanning.done()

    await database.close()
    with pytest.raises(DatabaseUnavailable):
        await scanning


async def test_a_scan_that_can_not_connect_is_told_so(database: SqliteDatabase, path: Path) -> None:
    replace(path, "a folder")

    with pytest.raises(DatabaseUnavailable):
        await database.scan(labels)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize(
    ("folder", "mode"),
    [
        (0o700, 0o600),
        (0o755, 0o600),
        (0o770, 0o660),
        (0o2775, 0o660),
        (0o777, 0o600),
        (0o1777, 0o600),
    ],
)
async def test_new_files_are_closed_to_all_but_a_group_that_may_write_to_the_folder(
    tmp_path: Path, umask: int, folder: int, mode: int
) -> None:
    place = tmp_path / "data"
    place.mkdir()
    place.chmod(folder)
    database = open_database(f"sqlite:///{place}/new.db")
    before = os.umask(umask)
    try:
        await database.open()
        await database.write(lambda db: db.execute(text("CREATE TABLE boxes (label TEXT)")))
        modes = modes_in(place)
        os.replace(place / "new.db-wal", place / "other")  # noqa: PTH105 (it doesn't wait)
        with pytest.raises(DatabaseUnavailable):
            await database.write(lambda db: db.execute(text("INSERT INTO boxes VALUES ('x')")))
        await database.close()
    finally:
        os.umask(before)

    files = ("new.db", "new.db-wal", "new.db-shm", "new.db.in-use")
    assert modes == dict.fromkeys(files, mode)
    [rescued] = [name for name in modes_in(place) if ".rescued-" in name]
    assert modes_in(place)[rescued] == mode


def modes_in(folder: Path) -> dict[str, int]:
    return {one.name: stat.S_IMODE(one.stat().st_mode) for one in os.scandir(folder)}


async def test_a_file_that_is_there_keeps_its_mode(database_url: str, path: Path) -> None:
    path.chmod(0o640)  # noqa: ASYNC240
    database = open_database(database_url)
    await database.open()
    await database.write(add, "box")

    assert set(modes_in(path.parent).values()) == {0o640}
    await database.close()


async def test_a_folder_that_is_made_for_a_database_is_closed_too(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/data/new.db")
    await database.open()
    await database.close()

    assert modes_in(tmp_path) == {"data": 0o700}


def test_a_new_file_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    at_once = threading.Barrier(4)

    def open_new_files(_: int) -> None:
        for number in range(60):
            engine = sqlite_engine(tmp_path / f"{number}.db")
            at_once.wait(10)
            engine.connect().close()

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(open_new_files, range(4))) == [None] * 4


@pytest.mark.parametrize("what", ["a folder", "a text"])
async def test_what_is_no_database_is_unavailable(database_url: str, path: Path, what: str) -> None:
    replace(path, what)

    with pytest.raises(DatabaseUnavailable):
        await open_database(database_url).open()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="needs a file"):
        open_database(url)


def delete(db: Connection, label: str) -> None:
    db.execute(text("DELETE FROM boxes WHERE label = :label"), {"label": label})


def files_of(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


async def test_what_is_forgotten_is_in_no_file_when_the_caller_is_answered(
    database: SqliteDatabase, path: Path
) -> None:
    await database.write(add, "unforgettable")
    await database.write(add, "another")
    assert b"unforgettable" in files_of(path), "else it would prove nothing"

    await database.erase(delete, "unforgettable")

    assert b"unforgettable" not in files_of(path)
    assert await database.read(labels) == ["another"]


async def test_a_forgetting_that_fails_changes_nothing(database: SqliteDatabase) -> None:
    await database.write(add, "one")

    with pytest.raises(LabelTaken):
        await database.erase(add, "one")

    assert await database.read(labels) == ["one"]


async def test_while_somebody_reads_what_is_older_nobody_waits_and_it_goes_after(
    database: SqliteDatabase,
    path: Path,
    other: sqlite3.Connection,
) -> None:
    await database.write(add, "unforgettable")
    other.execute("BEGIN")
    assert other.execute("SELECT count(*) FROM boxes").fetchone() == (1,)

    await database.erase(delete, "unforgettable")
    await database.write(add, "another")
    assert b"unforgettable" in files_of(path), "it is what the other one reads"
    assert other.execute("SELECT label FROM boxes").fetchall() == [("unforgettable",)]
    other.execute("COMMIT")

    async with asyncio.timeout(20):
        while database._must_truncate:  # noqa: ASYNC110 (nobody tells of it)
            await asyncio.sleep(0.01)
    assert b"unforgettable" not in files_of(path)
    assert await database.read(labels) == ["another"]


async def test_a_start_empties_the_journal_of_a_process_that_was_killed(
    database_url: str, path: Path, tmp_path: Path
) -> None:
    killed = open_database(database_url)
    await killed.open()
    await killed.write(add, "unforgettable")
    await killed.write(delete, "unforgettable")
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in path.parent.glob(f"{path.name}*"):
        shutil.copy(file, copy)
    await killed.close()
    assert b"unforgettable" in files_of(copy / path.name), "else it would prove nothing"

    database = open_database(f"sqlite:///{copy / path.name}")
    await database.open()
    try:
        assert b"unforgettable" not in files_of(copy / path.name)
        assert await database.read(labels) == []
    finally:
        await database.close()


async def test_a_watch_over_the_files_that_ends_by_itself_is_told(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: asyncio.Queue[str] = asyncio.Queue()
    monkeypatch.setattr(sqlite, "CHECK_SECONDS", 0.01)
    database = open_database(database_url)
    database.on_failure = lambda task: ended.put_nowait(task.get_name())
    await database.open()
    try:
        monkeypatch.setattr(database, "_files", None)  # to look at it is a bug
        async with asyncio.timeout(10):
            assert await ended.get() == "The watch over the SQLite files"
    finally:
        await database.close()


async def test_a_writer_that_ends_by_itself_keeps_nobody_waiting(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    # What rolls back fails as well, once.
    monkeypatch.setattr(groups.Group, "run", fail)
    monkeypatch.setattr(database, "_roll_back", fail)

    async with asyncio.timeout(10):
        answers = await asyncio.gather(*write_many(database, 3), return_exceptions=True)
    monkeypatch.undo()

    assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 3
    assert "The writer of the SQLite database has ended by itself." in caplog.text
    async with asyncio.timeout(10):
        for use in (database.ping(), database.write(add, "late"), database.read(labels)):
            with pytest.raises(DatabaseUnavailable, match="has failed"):
                await use


async def test_news_that_can_not_be_told_do_not_stop_the_writer(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(database.committed, "set", fail)
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(database.write(add, "box"), 10)

    assert await database.write(add, "another")


async def test_a_closed_database_leaves_one_file(database: SqliteDatabase, path: Path) -> None:
    await database.write(add, "box")
    await database.read(labels)
    await database.scan(labels)

    await database.close()

    # SQLite removes its log and its index with the last connection.
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 (it doesn't wait)


@pytest.mark.parametrize("verb", ["scan", "write"])
async def test_a_file_that_was_removed_is_not_made_anew(
    database: SqliteDatabase, path: Path, verb: str
) -> None:
    await database.write(add, "box")
    remove(path)

    with pytest.raises(DatabaseUnavailable):
        await getattr(database, verb)(labels)

    assert not is_there(path)


async def test_a_database_behind_a_link_is_watched_too(
    database_url: str, path: Path, tmp_path: Path
) -> None:
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    database = open_database(f"sqlite:///{link}")
    await database.open()
    assert await database.write(add, "box")

    remove(Path(f"{path}-wal"))

    with pytest.raises(DatabaseUnavailable):
        await database.write(add, "another")
    await database.close()


async def test_an_operator_is_told_which_file_it_is(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable) as told:
        await open_database(f"sqlite:///{tmp_path}").open()

    assert reason(told.value) == (
        f"unable to open database file: {tmp_path} (user {os.getuid()}): "
        "the file and its folder must be this user's to write"
    )
    assert str(tmp_path) not in str(told.value)


async def test_an_operator_is_told_who_may_not_make_the_file() -> None:
    with pytest.raises(DatabaseUnavailable) as told:
        await open_database("sqlite:////dev/null/crm.db").open()

    assert re.fullmatch(
        rf"\[Errno \d+\] [\w ]+: '/dev/null.*': user {os.getuid()}: the file and its folder must "
        "be this user's to write",
        reason(told.value),
    )


async def test_an_operator_is_told_which_file_is_locked(
    database: SqliteDatabase, other: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.01)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(DatabaseUnavailable) as told:
        await database.write(add, "box")

    assert reason(told.value) == f"database is locked: {path}: another process is writing to it"
