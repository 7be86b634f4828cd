"""The CRM's own commands, run as an operator runs them, beside a CRM at work."""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.conftest import ROOT
from tests.crm_api.conftest import (
    app_of,
    change_database,
    covered,
    read_feed,
    refusal,
    register,
    run,
    sequences,
)

pytestmark = pytest.mark.usefixtures("log_as_before")


@pytest.fixture
async def aged(crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> httpx.AsyncClient:
    """Give a feed whose events are 10, 8, 6 and 0 days old, in the environment's database."""
    await register(crm, 1, 2, 3, 4)
    for number, days in ((1, 10), (2, 8), (3, 6)):
        at = datetime.now(UTC) - timedelta(days=days)
        await change_database(
            crm,
            f"UPDATE events SET occurred_at = '{at:%Y-%m-%d %H:%M:%S.%f}' "  # noqa: S608
            f"WHERE id = {number}",
        )
    monkeypatch.setenv("DATABASE_URL", app_of(crm).state.settings.database_url)
    return crm


@pytest.mark.parametrize(
    ("days", "pruned"), [("7", 2), ("9", 1), ("1", 3), ("11", 0), ("36500", 0)]
)
async def test_events_older_than_so_many_days_are_deleted(
    aged: httpx.AsyncClient, days: str, pruned: int, capsys: pytest.CaptureFixture[str]
) -> None:
    cursors = [(await read_feed(aged, limit=limit))["next_cursor"] for limit in (1, 2, 3)]

    assert await run("prune-feed", "--older-than-days", days) == 0

    assert capsys.readouterr().out == f"{pruned} events deleted\n"
    if pruned:
        assert await refusal(aged) == (410, "cursor-expired")
        page = await read_feed(aged, after=cursors[pruned - 1])
    else:
        page = await read_feed(aged)
    assert sequences(page) == list(range(pruned + 1, 5))
    assert covered(page) == (pruned + 1, 4, 4, False)


async def test_customers_stay_when_their_events_go(aged: httpx.AsyncClient) -> None:
    before = (await aged.get("/api/customers")).json()

    await run("prune-feed", "--older-than-days", "1")

    assert (await aged.get("/api/customers")).json() == before


@pytest.mark.engine("sqlite")
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--older-than-days"],
        ["--older-than-days", "0"],
        ["--older-than-days", "-1"],
        ["--older-than-days", "1.5"],
        ["--older-than-days", "many"],
        ["--older-than-days", "1000000"],
        ["--older-than-days", "9" * 30],
        ["--older-than-days", "9" * 5000],
        ["--older-than-days", "1", "more"],
        ["--younger-than-days", "1"],
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)
async def test_a_call_that_makes_no_sense_is_refused_and_deletes_nothing(
    aged: httpx.AsyncClient, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run("prune-feed", *arguments) == 2

    assert capsys.readouterr().err
    assert sequences(await read_feed(aged)) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://localhost/crm", "DATABASE_URL"),
        ("postgresql://nobody@127.0.0.1:1/crm", "database"),
        ("sqlite:////proc/no/such/folder.db", "database"),
    ],
)
async def test_a_database_that_is_not_there_is_named_as_the_reason(
    url: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    assert await run("prune-feed", "--older-than-days", "7") == 2

    assert reason in capsys.readouterr().err


@pytest.mark.slow
async def test_python_dash_m_does_the_same(aged: httpx.AsyncClient) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crm_api", "prune-feed", "--older-than-days", "7"),
        cwd=ROOT,
        env={**os.environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )

    assert await process.communicate() == (b"2 events deleted\n", b"")
    assert process.returncode == 0
    assert await refusal(aged) == (410, "cursor-expired")
