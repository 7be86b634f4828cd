"""What the hottest requests cost, counted and not timed: statements, groups, memory."""

import asyncio
import cProfile
import gc
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from crm_api.app import create_app
from crm_api.settings import Settings
from tests.crm_api.conftest import app_of, numbered, register
from tests.statements import statements

pytestmark = pytest.mark.slow

ON_SQLITE = pytest.mark.engine("sqlite")

# A statement more on one of these is felt by every caller: raise a number with a reason alone.
# The 1 of POST on PostgreSQL is no matter of speed alone: it runs in `write_autocommit`, where a
# second writing statement would not be in the customer's transaction. SQLite looks where the feed
# ends and moves its end, which saves each reader a commit.
STATEMENTS = [
    ("GET", "/api/customers/1", None, 1),
    ("GET", "/api/customers", None, 2),
    ("GET", "/api/customers?q=customer", None, 4),
    ("GET", "/api/tickets", None, 1),
    ("GET", "/api/tickets?status=open&status=pending&sort=due", None, 1),
    ("GET", "/api/tickets?include=customer", None, 2),
    ("GET", "/api/events", None, 3),
    ("POST", "/api/customers", numbered(7001), {"sqlite": 6, "postgresql": 1}),
    (
        "POST",
        "/api/customers/batch",
        [numbered(n) for n in range(7100, 7200)],
        {"sqlite": 7, "postgresql": 5},
    ),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "most"), STATEMENTS, ids=[f"{m} {p}" for m, p, *_ in STATEMENTS]
)
async def test_statements_of_a_request(
    shared_crm: httpx.AsyncClient, method: str, path: str, body: Any, most: Any, engine: str
) -> None:
    await shared_crm.get("/api/events")  # what is new is numbered by whoever reads first
    with statements() as sent:
        answer = await shared_crm.request(method, path, json=body)

    assert answer.is_success
    assert len(sent) <= (most[engine] if isinstance(most, dict) else most), sent


def test_another_app_builds_no_route_anew(tmp_path: Path) -> None:
    settings = Settings(database_url=f"sqlite:///{tmp_path}/nowhere.db")
    create_app(settings)
    profile = cProfile.Profile()

    profile.runcall(create_app, settings)

    assert sum(entry.callcount for entry in profile.getstats()) < 3_000  # was 120,000


@ON_SQLITE  # PostgreSQL groups commits itself
async def test_writes_that_wait_together_share_a_commit(crm: httpx.AsyncClient) -> None:
    database = app_of(crm).state.database
    commits = 0
    set_signal = database.committed.set

    def counted() -> None:
        nonlocal commits
        commits += 1
        set_signal()

    database.committed.set = counted  # type: ignore[method-assign]
    posts = (crm.post("/api/customers", json=numbered(n)) for n in range(64))
    answers = await asyncio.gather(*posts)

    assert {answer.status_code for answer in answers} == {201}
    assert commits <= 8


@pytest.mark.long
@ON_SQLITE
async def test_requests_leave_no_memory_behind(crm: httpx.AsyncClient) -> None:
    await register(crm, *range(1, 11))
    paths = ("/api/customers/1", "/api/customers", "/api/events", "/api/customers/x%20y")
    # From one address: each new one is remembered, up to 20,000.
    caller = httpx.AsyncClient(
        transport=httpx.ASGITransport(app_of(crm)), base_url="http://test", headers=crm.headers
    )

    async def some() -> None:
        for path in paths:
            for _ in range(50):
                await caller.get(path)
                await asyncio.sleep(0)  # the loop sweeps its cancelled timers up between requests

    await some()
    gc.collect()
    tracemalloc.start()
    kept = []
    for _ in range(4):
        await some()
        gc.collect()
        kept.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    await caller.aclose()

    # A request is not to leave a hundred bytes. What leaks does so in each round; in one of them
    # what was there before may be replaced, or the interpreter's table of names doubled (4 MB).
    assert min(after - before for before, after in pairwise(kept)) < 200 * 100, kept
