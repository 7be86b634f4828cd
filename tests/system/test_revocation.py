"""A token that one process revokes is refused by the others, whatever they remember of it."""

import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from crm_api.tokens import known
from service_kit.web import introspection
from tests.conftest import NewDatabase, bearer
from tests.sweeps import ENGINES, sample
from tests.system.processes import Nursery, until
from tests.system.stack import Server, Stack

PROMISED_SECONDS = 5.0
# For how long a process here believes what it knows of a token, so that nobody waits for longer.
BELIEVED_SECONDS = 0.5
SHORTENED = {
    "crm_api.tokens.known:MAX_AGE_SECONDS": BELIEVED_SECONDS,
    "service_kit.web.introspection:BELIEVED_SECONDS": BELIEVED_SECONDS,
}


@pytest.fixture
def pair(nursery: Nursery, new_database: NewDatabase, tmp_path: Path) -> Iterator[list[Server]]:
    """Two CRMs on one database."""
    url = new_database("crm_api")
    with ExitStack() as exits:
        servers = []
        for _ in range(2):
            servers.append(Server("crm_api", nursery, tmp_path, url))
            servers[-1].constants.update(SHORTENED)
            exits.callback(servers[-1].close)
            servers[-1].restart(SEED_DEMO_DATA="false")
        yield servers


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=10, trust_env=False) as client:
        yield client


def status(client: httpx.Client, server: Server, token: str, path: str = "/api/customers") -> int:
    return client.get(f"{server.url}{path}", headers=bearer(token)).status_code


def issue(client: httpx.Client, server: Server, name: str = "web-shop") -> tuple[str, str]:
    """Have a token issued. Returns its address and its text."""
    answer = client.post(
        f"{server.url}/api/tokens",
        json={"name": name, "role": "viewer"},
        headers=bearer("admin123"),
    )
    assert answer.status_code == 201, answer.text
    return f"{server.url}/api/tokens/{answer.json()['id']}", answer.json()["token"]


def test_nothing_is_believed_for_longer_than_promised() -> None:
    assert known.MAX_AGE_SECONDS <= PROMISED_SECONDS
    assert introspection.BELIEVED_SECONDS <= PROMISED_SECONDS


def wait_until_refused(
    client: httpx.Client,
    server: Server,
    token: str,
    path: str = "/api/customers",
    refusals: Collection[int] = (401,),
) -> float:
    """Ask until a server refuses a token. Returns when the last request that it took was sent.

    Not when it was answered, so that a slow machine makes nothing of it.
    """
    last_accepted_at = 0.0

    def is_refused() -> bool:
        nonlocal last_accepted_at
        sent_at = time.monotonic()
        answered = status(client, server, token, path)
        assert answered in {200, *refusals}
        if answered == 200:
            last_accepted_at = sent_at
        return answered in refusals

    until(is_refused, f"{server.name} refuses it")
    return last_accepted_at


@pytest.mark.sweep
@pytest.mark.engine(*sample(ENGINES, every=2, first=1))
def test_the_other_process_refuses_a_revoked_token_in_time(
    pair: list[Server], client: httpx.Client
) -> None:
    here, there = pair
    address, token = issue(client, here)
    assert [status(client, server, token) for server in pair] == [200, 200]

    assert client.delete(address, headers=bearer("admin123")).status_code == 204
    revoked_at = time.monotonic()

    assert status(client, here, token) == 401, "where it was revoked it is refused at once"

    last_accepted_at = wait_until_refused(client, there, token)
    assert last_accepted_at - revoked_at < BELIEVED_SECONDS


@pytest.mark.sweep
@pytest.mark.engine(*sample(ENGINES, every=2))
def test_a_token_works_at_once_everywhere_and_through_a_restart(
    pair: list[Server], client: httpx.Client
) -> None:
    here, there = pair
    _, token = issue(client, here)
    assert status(client, there, token) == 200

    for server in pair:
        server.end()
        server.restart()

    assert [status(client, server, token) for server in pair] == [200, 200]
    assert token not in here.logged()


# Where the other services are asked, with a token of the platform's role viewer.
ASKED = {"inventory_api": "/package-requests", "integration_service": "/status"}


@pytest.fixture
def platform(stack: Stack, nursery: Nursery, tmp_path: Path) -> list[Server]:
    """Start a CRM, and two processes of each service that asks it. Returns those four."""
    stack.servers.append(
        Server("inventory_api", nursery, tmp_path, stack.inventory.database_url, replica=2)
    )
    stack.add_replica()
    asking = [server for server in stack.servers if server.service in ASKED]
    for server in asking:
        url = f"{stack.crm.url}/api/tokens/introspect"
        server.environment["TOKEN_INTROSPECTION_URL"] = url
        server.constants.update(SHORTENED)
    stack.start()
    return asking


@pytest.mark.engine("sqlite")
def test_every_service_refuses_a_revoked_token_in_time_even_if_the_crm_is_killed_then(
    platform: list[Server], stack: Stack, client: httpx.Client
) -> None:
    for is_killed, refusals in ((False, {401}), (True, {401, 503})):
        address, token = issue(client, stack.crm, f"till {is_killed}")
        before = [status(client, server, token, ASKED[server.service]) for server in platform]
        assert before == [200] * 4

        assert client.delete(address, headers=bearer("admin123")).status_code == 204
        revoked_at = time.monotonic()
        if is_killed:
            stack.crm.end()

        for server in platform:
            last = wait_until_refused(client, server, token, ASKED[server.service], refusals)
            assert last - revoked_at < BELIEVED_SECONDS
            assert token not in server.logged()
        assert token not in stack.crm.logged()
