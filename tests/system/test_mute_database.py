"""The link to PostgreSQL goes mute under a running stack: it shows, others take over, all heals."""

import signal
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.sweeps import sample
from tests.system.database_proxy import DatabaseProxy, proxied
from tests.system.processes import until
from tests.system.stack import Server, Stack

pytestmark = pytest.mark.engine("postgresql")

NAMES = ("crm_api", "inventory_api", "integration_service")
# Needs the database, and waits for its answer.
ASK = {
    name: f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin123\r\n\r\n".encode()
    for name, path in zip(NAMES, ("/api/customers", "/package-requests", "/status"), strict=True)
}
# How long a connection may be silent, which is fifteen seconds.
SHORTENED = {
    "service_kit.database.postgres.database:WORK_SECONDS": 4.0,
    "service_kit.database.postgres.notify:PING_SECONDS": 2.0,
    "service_kit.database.postgres.notify:ANSWER_SECONDS": 2.0,
}
PATIENCE = 60.0


@pytest.fixture
def proxy(postgres_server: str) -> Iterator[DatabaseProxy]:
    with proxied(postgres_server) as proxy:
        yield proxy


def start(stack: Stack, server: Server, proxy: DatabaseProxy) -> None:
    """Start the stack, one of it behind the proxy."""
    server.environment["DATABASE_URL"] = proxy.url(server.database_url)
    server.constants.update(SHORTENED)
    stack.start()
    stack.add_customers(1)
    stack.wait_until_quiet()


@pytest.mark.sweep
@pytest.mark.parametrize("name", sample(NAMES, every=3, first=2))
def test_it_shows_and_heals(stack: Stack, proxy: DatabaseProxy, name: str) -> None:
    server = stack.server(name)
    start(stack, server, proxy)
    pids = [one.pid for one in stack.servers]

    with proxy.mute():
        until(lambda: not server.is_ready(), f"{name} is not ready", seconds=PATIENCE)
        if name == "integration_service":
            until(lambda: "gives up its lease" in server.logged(), "it stops", seconds=PATIENCE)
        assert httpx.get(f"{server.url}/health", trust_env=False).status_code == 200
    until(server.is_ready, f"{name} is ready again", seconds=PATIENCE)

    stack.add_customers(2)
    stack.wait_until_quiet()
    stack.check()
    assert [one.pid for one in stack.servers] == pids


@pytest.mark.sweep
@pytest.mark.parametrize("name", sample(NAMES, every=3, first=1))
def test_a_stop_takes_no_longer(stack: Stack, proxy: DatabaseProxy, name: str) -> None:
    server = stack.server(name)
    start(stack, server, proxy)

    with proxy.mute(), socket.create_connection(("127.0.0.1", server.port)) as asking:
        asking.sendall(ASK[name])
        until(lambda: proxy.silenced, "something was asked")
        code, seconds = server.end(signal.SIGTERM)

    assert code == 0
    assert seconds < 10


def test_another_poller_takes_over_from_one_that_hears_nothing(
    stack: Stack, proxy: DatabaseProxy
) -> None:
    start(stack, stack.integration, proxy)
    other = stack.add_replica()
    del other.environment["DATABASE_URL"]
    other.restart()

    with proxy.mute():
        stack.add_customers(2)
        until(lambda: stack.polls(other), "the other one polls", seconds=PATIENCE)
        stack.wait_until_quiet()
    until(stack.integration.is_ready, "it is ready again", seconds=PATIENCE)

    stack.check()
