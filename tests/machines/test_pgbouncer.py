"""The services behind the real PgBouncer."""

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import Connection, select

from service_kit.database import open_database
from service_kit.database.prepared import PreparedValues
from tests.conftest import SERVICES, NewDatabase, run_sql, with_database
from tests.machines.commands import run
from tests.machines.load import Load
from tests.machines.pgbouncer import PgBouncer
from tests.service_kit.conftest import add, boxes, labels
from tests.system.processes import until
from tests.system.stack import GONE, Stack
from tests.system.test_database_restarts import session_of

pytestmark = [pytest.mark.engine("postgresql"), pytest.mark.timeout(600)]

CUSTOMERS, BATCH = 20_000, 100
ROUNDS = 6
LIMITS = {
    "statement_timeout": "10s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
}
VERBS = ["read", "scan", "write", "write_autocommit"]
# Run by the driver alone.
LABELS = PreparedValues[str](select(boxes.c.label))


def behind(stack: Stack, bouncer: PgBouncer) -> None:
    for server in stack.servers:
        server.environment["DATABASE_URL"] = bouncer.url(server.database_url)


def database_answers(stack: Stack) -> bool:
    with suppress(*GONE):
        return bool(stack.crm.rows("SELECT 1"))
    return False


def test_nobody_is_missed_though_everything_is_killed_again_and_again(
    stack: Stack, bouncer: PgBouncer
) -> None:
    behind(stack, bouncer)
    del stack.integration.environment["LEASE_SECONDS"]  # as by default
    stack.start()
    load = Load(stack, CUSTOMERS, BATCH)
    answered = 0

    with ThreadPoolExecutor(1) as thread:
        loading = thread.submit(load.run)
        for number in range(ROUNDS):
            load.wait_for_more(answered)
            if number == ROUNDS // 2:
                # PostgreSQL starts anew when one of its processes was killed.
                os.kill(session_of(stack.crm.database_url), signal.SIGKILL)
            bouncer.kill()
            for server in stack.servers:
                server.end(signal.SIGKILL)
            answered = stack.answered()
            until(lambda: database_answers(stack), "PostgreSQL answers")
            bouncer.start()
            stack.revive()
            stack.wait_until_ready()
        assert not load.ended, "all was added before the last kill"
        loading.result()

    until(stack.is_quiet, "all is quiet", seconds=300, meanwhile=stack.revive)
    stack.check()
    assert stack.answered() == CUSTOMERS
    assert [server.deaths for server in stack.servers] == [ROUNDS] * 3
    for server in stack.servers:
        assert "PostgreSQL is behind a pooler" in server.logged()
    print(f"{CUSTOMERS} customers, all killed {ROUNDS} times: 0 missing, 0 double")  # noqa: T201


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("service", SERVICES)
def test_statement_mode_is_refused_in_one_sentence(
    new_database: NewDatabase, bouncer: PgBouncer, service: str, *, direct: bool
) -> None:
    url = new_database(service)
    bouncer.restart(pool_mode="statement")

    other = {"DATABASE_DIRECT_URL": url} if direct else {}
    refused = run(service, "serve", DATABASE_URL=bouncer.url(url), **other)

    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == (
        f"{service}: the database can't be used: the pooler in front of it pools statements, which "
        "allows no transactions: set PgBouncer's pool_mode to transaction"
    )
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_new_database_is_migrated_and_backed_up(
    postgres_server: str, bouncer: PgBouncer, tmp_path: Path, mode: str
) -> None:
    name = f"new_{mode}"
    run_sql(postgres_server, f"CREATE DATABASE {name}")
    bouncer.restart(pool_mode=mode)
    url = bouncer.url(with_database(postgres_server, name))

    for command in (
        ("migrate",),
        ("backup", str(tmp_path / "a.db")),
        ("verify", f"{tmp_path}/a.db"),
    ):
        done = run("crm_api", *command, DATABASE_URL=url)
        assert done.returncode == 0, done.stderr


def test_a_direct_url_must_lead_past_the_pooler_and_to_the_same_database(
    new_database: NewDatabase, bouncer: PgBouncer
) -> None:
    url, other = new_database("crm_api"), new_database("crm_api")
    pooled = bouncer.url(url)

    migrated = run("crm_api", "migrate", DATABASE_URL=pooled, DATABASE_DIRECT_URL=url)
    assert (migrated.returncode, migrated.stderr) == (0, "")
    for direct, why in {
        pooled: "DATABASE_DIRECT_URL leads through a pooler too",
        other: "DATABASE_URL and DATABASE_DIRECT_URL name different databases",
    }.items():
        refused = run("crm_api", "migrate", DATABASE_URL=pooled, DATABASE_DIRECT_URL=direct)
        assert refused.returncode == 2
        assert refused.stderr == f"crm_api: the database can't be used: {why}\n"


@pytest.mark.anyio
@pytest.mark.parametrize("verb", VERBS)
async def test_limits_hold_in_each_transaction_and_in_no_other(
    database_url: str, bouncer: PgBouncer, verb: str
) -> None:
    def shown(db: Connection) -> dict[str, str]:
        return {name: db.exec_driver_sql(f"SHOW {name}").scalar_one() for name in LIMITS}

    database = open_database(bouncer.url(database_url), "boxes")
    await database.open()
    assert await getattr(database, verb)(shown) == LIMITS
    await database.close()

    # Somebody else is lent the same session of the server.
    other = await asyncpg.connect(bouncer.url(database_url), statement_cache_size=0)
    assert [await other.fetchval(f"SHOW {name}") for name in LIMITS] == ["0"] * len(LIMITS)
    await other.close()


@pytest.mark.anyio
async def test_two_processes_share_the_sessions_of_the_server(
    database_url: str, bouncer: PgBouncer
) -> None:
    one, other = [open_database(bouncer.url(database_url), "boxes") for _ in range(2)]
    await one.open()
    await other.open()

    for number in range(5):
        for name, database in {"one": one, "other": other}.items():
            await database.write(add, f"{name} {number}")
            await database.write_autocommit(add, f"{name} {number} again")
            assert len(await database.read(labels)) == len(await database.read(LABELS.all))
    assert len(await one.read(labels)) == 20

    await one.close()
    await other.close()


@pytest.mark.anyio
async def test_a_direct_url_lets_a_process_hear_of_the_commits_of_others(
    database_url: str, bouncer: PgBouncer
) -> None:
    pooled = bouncer.url(database_url)
    hearing, other = [open_database(pooled, direct_url=database_url) for _ in range(2)]
    await hearing.open()
    await other.open()

    async with asyncio.timeout(30):
        heard = asyncio.ensure_future(hearing.committed.next())
        while not heard.done():
            await other.write(labels)
            await asyncio.wait([heard], timeout=0.1)

    await hearing.close()
    await other.close()
