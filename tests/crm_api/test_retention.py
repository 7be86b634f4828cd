"""What the CRM deletes by itself when it is old, and at once by the command prune."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from crm_api.app import create_app
from crm_api.retention import KEPT
from crm_api.sessions.known import KnownSessions
from crm_api.settings import Settings
from service_kit.process import retention
from tests.conftest import running
from tests.crm_api.conftest import (
    all_there_is,
    announced,
    app_of,
    change_database,
    read_feed,
    refusal,
    register,
    run,
    sequences,
)

pytestmark = pytest.mark.usefixtures("log_as_before")

NOTHING = {
    "audit entries": "0 deleted",
    "events": "kept for ever",
    "stored answers": "0 deleted",
    "parts of import reports": "0 deleted",
    "sessions and links": "0 deleted",
    "snapshots": "0 deleted",
}


@pytest.fixture
async def beside(crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> httpx.AsyncClient:
    """Give a CRM beside which the command works."""
    monkeypatch.setenv("DATABASE_URL", app_of(crm).state.settings.database_url)
    return crm


async def pruned(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Run the command. Returns what it says of each kind."""
    capsys.readouterr()
    assert await run("prune") == 0
    lines = capsys.readouterr().out.splitlines()
    return dict(line.split(": ") for line in lines if line.partition(": ")[0] in NOTHING)


async def age(crm: httpx.AsyncClient, table: str, column: str, days: float, where: str) -> None:
    at = datetime.now(UTC) - timedelta(days=days)
    await change_database(
        crm,
        f"UPDATE {table} SET {column} = '{at:%Y-%m-%d %H:%M:%S.%f}' WHERE {where}",  # noqa: S608
    )


async def open_session(crm: httpx.AsyncClient, name: str, expires_in: timedelta) -> None:
    await KnownSessions(app_of(crm).state.database).add(
        key=name.encode().ljust(32),
        owner=name,
        role="agent",
        sealed=b"",
        expires_at=datetime.now(UTC) + expires_in,
    )


async def subjects(crm: httpx.AsyncClient) -> list[str]:
    return [entry["subject"] for entry in (await crm.get("/api/audit")).json()]


async def test_nothing_that_is_young_is_deleted(
    beside: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    await register(beside, 1, 2)
    await open_session(beside, "Maria", timedelta(hours=12))
    before = await all_there_is(beside)

    assert await pruned(capsys) == NOTHING
    assert await all_there_is(beside) == before


async def test_the_audit_is_kept_for_a_year(
    beside: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    await register(beside, 1, 2, 3)
    uids = await subjects(beside)
    await age(beside, "audit_entries", "at", 365.01, "id = 1")
    await age(beside, "audit_entries", "at", 364.99, "id = 2")

    assert await pruned(capsys) == NOTHING | {"audit entries": "1 deleted"}

    assert await subjects(beside) == uids[1:]
    assert len((await beside.get("/api/customers")).json()) == 3


@pytest.mark.parametrize(("days", "said"), [("0", "kept for ever"), ("10", "2 deleted")])
async def test_a_setting_says_how_long_the_audit_is_kept(
    days: str,
    said: str,
    beside: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await register(beside, 1, 2, 3)
    await age(beside, "audit_entries", "at", 11, "id <= 2")
    monkeypatch.setenv("RETENTION_AUDIT_DAYS", days)

    assert (await pruned(capsys))["audit entries"] == said


async def test_events_are_kept_until_a_setting_says_for_how_long(
    beside: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await register(beside, 1, 2, 3)
    await age(beside, "events", "occurred_at", 40, "id <= 2")
    assert await pruned(capsys) == NOTHING
    cursor = (await read_feed(beside, limit=2))["next_cursor"]

    monkeypatch.setenv("RETENTION_FEED_DAYS", "30")

    assert await pruned(capsys) == NOTHING | {"events": "2 deleted"}
    assert await refusal(beside) == (410, "cursor-expired")
    assert sequences(await read_feed(beside, after=cursor)) == [3]


async def test_events_that_a_reader_needs_are_kept_longer(
    beside: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await register(beside, 1, 2)
    await announced(beside, "web-shop", 1)
    await age(beside, "events", "occurred_at", 40, "id <= 2")
    monkeypatch.setenv("RETENTION_FEED_DAYS", "30")

    assert (await pruned(capsys))["events"] == "1 deleted"


async def test_sessions_and_links_go_when_their_time_is_over(
    beside: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    await open_session(beside, "Maria", timedelta(hours=12))
    await open_session(beside, "Jakob", timedelta(seconds=-1))

    assert await pruned(capsys) == NOTHING | {"sessions and links": "1 deleted"}

    left = await all_there_is(beside)
    assert "b'maria" in left
    assert "b'jakob" not in left


async def test_stored_answers_and_reports_go_after_a_week(
    beside: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        await beside.post(
            "/api/customers",
            json={"name": "Jane Doe", "email": f"{number}@example.com"},
            headers={"Idempotency-Key": str(number)},
        )
    await age(beside, "idempotency_keys", "created_at", 7.01, "id = 1")
    await change_database(
        beside,
        "INSERT INTO import_reports (import_id, created_at, rows)"
        " VALUES (1, '2020-01-01 00:00:00.000000', 'a,b')",
    )

    done = await pruned(capsys)

    assert done == NOTHING | {
        "stored answers": "1 deleted",
        "parts of import reports": "1 deleted",
    }


async def test_the_service_does_it_by_itself(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does is tested above; this is that somebody does it, for each kind."""
    monkeypatch.setattr(retention, "FIRST_AFTER_SECONDS", 0.0)
    done = asyncio.Event()
    seen: list[str] = []

    async def prune(one: retention.Kept, *_: object) -> None:
        seen.append(one.what)
        if len(seen) == len(KEPT):
            done.set()

    monkeypatch.setattr(retention, "_prune_logging", prune)
    async with running(create_app(settings)), asyncio.timeout(30):
        await done.wait()

    assert seen == list(NOTHING)
