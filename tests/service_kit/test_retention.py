"""What is kept for some time only: old rows, stored answers and snapshots, and their timer."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Connection, MetaData, Table, insert, select

from service_kit.database import Database, DatabaseUnavailable, open_database, pruning
from service_kit.database.pruning import OldRows
from service_kit.database.sqlite.snapshots import prune_snapshots, snapshots_of
from service_kit.database.types import BigInt, UtcDateTime
from service_kit.process import retention
from service_kit.process.retention import SNAPSHOTS, Kept, keep_pruning, rows_kept
from service_kit.process.stopping import Stopping
from service_kit.web.idempotency import StoredAnswers
from tests.service_kit.conftest import Settings
from tests.statements import statements

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)

metadata = MetaData()
visits = Table(
    "visits",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)
answers = StoredAnswers(metadata)


@pytest.fixture
async def visited(database_url: str) -> AsyncIterator[Database]:
    """Give a database with tables of visits and of stored answers, both empty."""
    database = open_database(database_url, pool_size=2)
    await database.open()
    await database.write(metadata.create_all)
    yield database
    await database.close()


@pytest.fixture
def old_visits(monkeypatch: pytest.MonkeyPatch) -> OldRows:
    """Give what prunes visits, two at a time."""
    monkeypatch.setattr(pruning, "PRUNED_AT_ONCE", 2)
    return OldRows(visits, visits.c.at)


async def visit(database: Database, *days_ago: float) -> None:
    rows = [{"at": NOW - days * DAY} for days in days_ago]
    await database.write(lambda db: db.execute(insert(visits), rows) and None)


async def left(database: Database) -> list[int]:
    return await database.read(lambda db: list(db.execute(select(visits.c.id)).scalars()))


async def test_rows_older_than_an_instant_are_deleted(
    visited: Database, old_visits: OldRows
) -> None:
    await visit(visited, 9, 8, 5, 7, 6, 4)

    assert await old_visits.prune(visited, NOW - 5 * DAY, NOW) == 4

    assert await left(visited) == [3, 6], "one of the very instant is not older than it"
    assert await old_visits.prune(visited, NOW - 5 * DAY, NOW) == 0


async def test_each_transaction_deletes_a_few(visited: Database, old_visits: OldRows) -> None:
    await visit(visited, 9, 9, 9, 9, 9)

    with statements() as seen:
        assert await old_visits.prune(visited, NOW - DAY, NOW) == 5

    assert len([one for one in seen if one.startswith("DELETE")]) == 3
    assert await left(visited) == []


async def test_young_rows_are_not_read_through(visited: Database, old_visits: OldRows) -> None:
    await visit(visited, 9, 9, *[0] * 20)

    with statements() as seen:
        assert await old_visits.prune(visited, NOW - DAY, NOW) == 2

    assert len([one for one in seen if one.startswith("SELECT")]) == 2


async def test_young_rows_among_old_ones_stay(visited: Database, old_visits: OldRows) -> None:
    """As where the clocks of two processes differ."""
    await visit(visited, 9, 1, 9, 1, 1, 9)

    assert await old_visits.prune(visited, NOW - 5 * DAY, NOW) == 3

    assert await left(visited) == [2, 4, 5]


async def test_rows_that_a_clock_dated_ahead_keep_no_others(
    visited: Database, old_visits: OldRows
) -> None:
    await visit(visited, -400, -400, -400, -400, 9, 9, 0, 0)

    assert await old_visits.prune(visited, NOW - 5 * DAY, NOW) == 2

    assert await left(visited) == [1, 2, 3, 4, 7, 8]


async def test_two_processes_may_prune_at_once(visited: Database, old_visits: OldRows) -> None:
    await visit(visited, *[9] * 40)

    deleted = await asyncio.gather(
        *(old_visits.prune(visited, NOW - DAY, NOW) for _ in range(2)),
    )

    assert sum(deleted) == 40
    assert await left(visited) == []


@pytest.mark.parametrize(("days", "deleted"), [(0, None), (1, 2), (30, 1), (3650, 0)])
async def test_a_setting_says_for_how_many_days(
    visited: Database, days: int, deleted: int | None
) -> None:
    now = datetime.now(UTC)
    rows = [{"at": now - age * DAY} for age in (31, 2, 0)]
    await visited.write(lambda db: db.execute(insert(visits), rows) and None)
    kept = rows_kept("visits", OldRows(visits, visits.c.at), lambda settings: settings)

    assert await kept.prune(days, visited) == deleted
    assert len(await left(visited)) == 3 - (deleted or 0)


async def test_stored_answers_go_without_anybody_sending_a_key(
    visited: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    row = {"caller": "a", "route": "/", "fingerprint": "", "status": 201, "headers": {}, "body": ""}
    keys, subjects = answers.keys, answers.subjects

    def fill(db: Connection) -> None:
        old = [{**row, "key": f"old-{n}", "created_at": now - 7.01 * DAY} for n in range(120)]
        young = {**row, "key": "young", "created_at": now - 6.99 * DAY}
        db.execute(insert(keys), [*old, young])
        db.execute(insert(subjects), [{"key_id": n, "subject": "jane"} for n in (1, 120, 121)])

    await visited.write(fill)

    assert await answers.kept.prune(None, visited) == 120

    read = visited.read
    assert await read(lambda db: list(db.execute(select(keys.c.key)).scalars())) == ["young"]
    assert await read(lambda db: list(db.execute(select(subjects.c.key_id)).scalars())) == [121]


def test_snapshots_older_than_an_instant_are_deleted(tmp_path: Path) -> None:
    path = tmp_path / "crm.db"
    names = {
        "old": "crm.db.snapshot-20260101T000000Z-0011",
        "young": "crm.db.snapshot-20260228T000000Z-0012",
        "another's": "inventory.db.snapshot-20260101T000000Z-0011",
        "somebody's own": "crm.db.snapshot-before-the-move",
        "a backup": "crm.db.replaced-20260101T000000Z",
    }
    for name in names.values():
        (tmp_path / name).touch()

    assert prune_snapshots(path, NOW - 30 * DAY) == 1

    del names["old"]
    assert {one.name for one in tmp_path.iterdir()} == set(names.values())


@pytest.fixture
def snapshotted(tmp_path: Path) -> Path:
    """Give the path of a database that has a snapshot of 91 days ago."""
    path = tmp_path / "boxes.db"
    at = datetime.now(UTC) - 91 * DAY
    Path(f"{path}.snapshot-{at:%Y%m%dT%H%M%SZ}-0001").touch()
    return path


@pytest.mark.parametrize(("days", "deleted"), [(90, 1), (0, None)])
async def test_the_setting_says_how_long_snapshots_are_kept(
    days: int, deleted: int | None, snapshotted: Path
) -> None:
    settings = Settings(database_url=f"sqlite:///{snapshotted}", retention_snapshots_days=days)

    assert await SNAPSHOTS.prune(settings, open_database(settings.database_url)) == deleted

    assert len(snapshots_of(snapshotted)) == (0 if deleted else 1)


async def test_a_postgresql_has_no_snapshots() -> None:
    settings = Settings(database_url="postgresql://boxes")

    assert await SNAPSHOTS.prune(settings, open_database(settings.database_url)) == 0


class Rounds:
    """Things to be pruned, which count how often they were, and a process that stops in time."""

    def __init__(self, ends_after: int) -> None:
        self.stopping = Stopping()
        self.seen: list[str] = []
        self._left = ends_after

    def kept(self, what: str, outcome: int | Exception | None) -> Kept:
        async def prune(settings: Any, database: Database) -> int | None:
            self.seen.append(what)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return Kept(what, prune)

    def last(self) -> Kept:
        """Give what ends the process with the last of the rounds."""

        async def prune(settings: Any, database: Database) -> int:
            self._left -= 1
            if not self._left:
                self.stopping.begin()
            return 0

        return Kept("rounds", prune)

    async def run(self, *kept: Kept) -> None:
        database = open_database("sqlite:///never-opened.db")
        settings = Settings(database_url="sqlite:///never-opened.db")
        await keep_pruning(settings, database, self.stopping, [*kept, self.last()])


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "FIRST_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(retention, "EVERY_SECONDS", 0.0)


@pytest.mark.usefixtures("_at_once")
async def test_the_timer_prunes_again_and_again() -> None:
    rounds = Rounds(ends_after=3)

    await rounds.run(rounds.kept("visits", 0), rounds.kept("boxes", None))

    assert rounds.seen == ["visits", "boxes"] * 3


@pytest.mark.usefixtures("_at_once")
async def test_what_can_not_be_pruned_keeps_the_rest_from_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    rounds = Rounds(ends_after=2)

    await rounds.run(
        rounds.kept("visits", DatabaseUnavailable("It is away.")),
        rounds.kept("boxes", KeyError("a bug")),
        rounds.kept("labels", 7),
    )

    assert rounds.seen == ["visits", "boxes", "labels"] * 2
    told = [(one.levelname, one.getMessage()) for one in caplog.records]
    assert told[:3] == [
        ("WARNING", "Old visits can't be deleted now; the next hour tries again: It is away."),
        ("ERROR", "Old boxes can't be deleted because of a bug."),
        ("INFO", "Deleted 7 old labels."),
    ]


async def test_a_process_that_is_to_stop_prunes_no_more() -> None:
    rounds = Rounds(ends_after=1)
    rounds.stopping.begin()

    await rounds.run(rounds.kept("visits", 0))

    assert rounds.seen == []
