"""Imports that stop half-way: said to be interrupted, and taken again without doubles."""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from crm_api import import_reports
from crm_api.app import create_app
from crm_api.imports import runner, service, store
from crm_api.imports.models import Import
from crm_api.settings import Settings
from crm_api.transfer import table as tables
from crm_api.transfer.repeats import Repeats
from service_kit.database import Database, DatabaseUnavailable
from service_kit.web.auth import COMMAND_LINE
from tests.conftest import running
from tests.crm_api.conftest import all_there_is, app_of, change_database
from tests.crm_api.imports import IMPORTS, counts, ended, imported, report, rows, send, table

WRONG = "Nobody,not-an-address,no-such-ref"
HEADER = ["name", "email", "external_ref"]


def database_of(crm: httpx.AsyncClient) -> Database:
    database: Database = app_of(crm).state.database
    return database


async def begun(crm: httpx.AsyncClient, number_of_rows: int) -> Import:
    """Begin an import on which nobody works."""
    new = service.NewImport(1, HEADER, number_of_rows, dry_run=False, welcome=True)
    return await database_of(crm).write(service.begin, new, COMMAND_LINE)


def lines(tmp_path: Path, *texts: str) -> list[tables.Line]:
    file = tmp_path / "some.csv"
    file.write_text(table(*texts))
    return list(tables.lines(file, HEADER))


async def look(crm: httpx.AsyncClient, import_id: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = (await crm.get(f"{IMPORTS}/{import_id}")).json()
    return found


async def test_a_stop_interrupts_an_import_which_can_be_sent_again(settings: Settings) -> None:
    text = table(*rows(*range(300)), WRONG)
    async with running(create_app(settings), token="admin123") as crm:
        database, first = database_of(crm), await send(crm, text)
        news = database.committed.next()
        while not (await look(crm))["rows_read"]:
            await news
            news = database.committed.next()

    async with running(create_app(settings), token="admin123") as crm:
        stopped = await look(crm)
        there = (await crm.get("/api/customers", params={"limit": 500})).json()
        again = await ended(crm, await send(crm, text))

        assert first.status_code == 202
        assert (stopped["state"], stopped["problem"]) == ("interrupted", None)
        assert 0 < stopped["rows_read"] == stopped["created"] == len(there) < 300
        assert counts(again) == (300 - len(there), 0, len(there), 1)
        everybody = (await crm.get("/api/customers", params={"limit": 500})).json()
        assert len({one["email"] for one in everybody}) == len(everybody) == 300
        assert again["created"] + stopped["created"] == 300


async def test_an_import_whose_count_stands_still_is_interrupted(crm: httpx.AsyncClient) -> None:
    await begun(crm, 5)
    now = time.monotonic()

    seen = await runner.interrupt_silent(database_of(crm), {})
    assert (await look(crm))["state"] == "running", "it was just seen for the first time"
    assert seen.keys() == {1}
    await runner.interrupt_silent(database_of(crm), {1: (0, now - runner.SILENT_SECONDS)})

    found = await look(crm)
    assert found["state"] == "interrupted"
    assert found["finished_at"] is not None
    assert await runner.interrupt_silent(database_of(crm), {}) == {}


async def test_an_import_whose_count_moves_on_is_left_alone(crm: httpx.AsyncClient) -> None:
    await begun(crm, 5)
    await database_of(crm).write(store.beat, 1)
    long_ago = time.monotonic() - 10 * runner.SILENT_SECONDS

    seen = await runner.interrupt_silent(database_of(crm), {1: (0, long_ago)})

    assert (await look(crm))["state"] == "running"
    assert seen[1][0] == 1
    assert seen[1][1] > long_ago
    assert not await database_of(crm).write(service.interrupt, 1, 0), "it has moved on since"


async def test_who_was_taken_for_dead_does_nothing_more(
    crm: httpx.AsyncClient, tmp_path: Path
) -> None:
    await begun(crm, 1)
    await database_of(crm).write(service.interrupt, 1, 0)

    with pytest.raises(service.NoLongerRunning):
        await database_of(crm).write(service.advance, 1, 0, lines(tmp_path, *rows(1)), COMMAND_LINE)

    assert not await database_of(crm).write(store.beat, 1)
    assert (await crm.get("/api/customers")).json() == []
    after = await database_of(crm).write(service.end, 1, "finished", None)
    assert after is not None
    assert after.state == "interrupted"


async def test_a_chunk_whose_commit_was_not_heard_of_is_counted_once(
    crm: httpx.AsyncClient, tmp_path: Path
) -> None:
    await begun(crm, 3)
    chunk = lines(tmp_path, *rows(1, 2), WRONG)

    for _ in range(2):
        await database_of(crm).write(service.advance, 1, 0, chunk, COMMAND_LINE)

    found = await look(crm)
    assert (found["rows_read"], counts(found)) == (3, (2, 0, 0, 1))
    assert len(found["first_refused"]) == 1
    assert len(await report(crm, 1)) == 2


async def test_a_database_that_is_away_for_a_moment_stops_no_import(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = _fail(crm, monkeypatch, times=2)

    found = await imported(crm, *rows(1, 2))

    assert (found["state"], counts(found), failed) == ("finished", (2, 0, 0, 0), [2])


async def test_a_database_that_stays_away_fails_an_import(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = len(runner.RETRY_SECONDS) + 1
    failed = _fail(crm, monkeypatch, times=tries)

    found = await imported(crm, *rows(1, 2))

    assert (found["state"], found["rows_read"], failed) == ("failed", 0, [tries])
    assert found["problem"] == "The database could not be used. Send the file again."
    assert (await imported(crm, *rows(1, 2)))["created"] == 2


def _fail(crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Refuse the next chunks that an import writes; returns how many were refused."""
    database, failed = database_of(crm), [0]
    write = database.write

    async def refuse(work: Any, *arguments: Any, **named: Any) -> Any:
        if work is service.advance and failed[0] < times:
            failed[0] += 1
            raise DatabaseUnavailable("It does not answer.")
        return await write(work, *arguments, **named)

    monkeypatch.setattr(database, "write", refuse)
    monkeypatch.setattr(runner, "RETRY_SECONDS", (0.0,) * len(runner.RETRY_SECONDS))
    return failed


async def test_a_bug_fails_an_import_and_not_the_service(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def buggy(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(service, "advance", buggy)
        found = await imported(crm, *rows(1))

    assert found["state"] == "failed"
    assert found["problem"].startswith("This is our fault.")
    assert "Import 1 has failed because of a bug." in caplog.text
    assert (await imported(crm, *rows(1)))["state"] == "finished"


class Held:
    """Holds imports before their first row, in the thread that reads the file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = threading.Event()
        read = Repeats.read

        def hold(repeats: Repeats, source: Any, advance: Callable[[int], None]) -> None:
            while not self.go_on.wait(0.01):
                advance(0)
            read(repeats, source, advance)

        monkeypatch.setattr(Repeats, "read", hold)


async def test_an_import_is_counted_up_while_no_row_of_it_is_done(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BEAT_SECONDS", 0.0)
    held, database = Held(monkeypatch), database_of(crm)
    answer = await send(crm, table(*rows(1)))
    async with asyncio.timeout(30):
        news = database.committed.next()
        while (await database.read(store.beats))[1] < 3:
            await news
            news = database.committed.next()

    assert (await look(crm))["rows_read"] == 0
    held.go_on.set()
    assert counts(await ended(crm, answer)) == (1, 0, 0, 0)


async def test_a_process_that_was_only_stopped_finds_its_import_ended(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BEAT_SECONDS", 60.0)
    held = Held(monkeypatch)
    answer = await send(crm, table(*rows(1)))
    assert await database_of(crm).write(service.interrupt, 1, 0)
    held.go_on.set()

    assert counts(await imported(crm, *rows(2))) == (1, 0, 0, 0), "its place is free again"

    assert answer.status_code == 202
    assert (await look(crm))["state"] == "interrupted"
    assert [one["name"] for one in (await crm.get("/api/customers")).json()] == ["Customer 2"]


async def test_a_stop_does_not_wait_until_a_file_is_read(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    async with running(create_app(settings), token="admin123") as crm:
        await send(crm, table(*rows(1)))

    held.go_on.set()
    async with running(create_app(settings), token="admin123") as crm:
        assert (await look(crm))["state"] == "interrupted"
        assert (await imported(crm, *rows(1)))["created"] == 1


async def test_reports_are_deleted_after_a_week(crm: httpx.AsyncClient) -> None:
    await imported(crm, "Old Row,not-an-address,")
    long_ago = datetime.now(UTC) - import_reports.KEPT - timedelta(minutes=1)
    await change_database(
        crm,
        f"UPDATE import_reports SET created_at = '{long_ago:%Y-%m-%d %H:%M:%S.%f}'",  # noqa: S608
    )
    await imported(crm, "New Row,not-an-address,")

    await runner.prune_reports(database_of(crm))

    left = await all_there_is(crm)
    assert "old row" not in left
    assert "new row" in left


async def test_the_watch_does_both(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does is tested above; this is that somebody does it, again and again."""
    monkeypatch.setattr(runner, "WATCH_SECONDS", 0.01)
    async with running(create_app(settings), token="admin123") as crm:
        await imported(crm, WRONG)
        assert "not-an-address" in await all_there_is(crm)
        # Not before: it would end the import that has just begun.
        monkeypatch.setattr(runner, "SILENT_SECONDS", 0.0)
        await change_database(
            crm, "UPDATE import_reports SET created_at = '2020-01-01 00:00:00.000000'"
        )
        await begun(crm, 1)
        committed = database_of(crm).committed
        async with asyncio.timeout(30):
            news = committed.next()
            while (await look(crm, 2))["state"] == "running" or (
                "not-an-address" in await all_there_is(crm)
            ):
                await news
                news = committed.next()
