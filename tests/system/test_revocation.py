"""A token that one process revokes is refused by the others, whatever they remember of it."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.conftest import NewDatabase, bearer
from tests.system.processes import Nursery, until
from tests.system.stack import Server

PROMISED_SECONDS = 5.0


@pytest.fixture
def pair(nursery: Nursery, new_database: NewDatabase, tmp_path: Path) -> Iterator[list[Server]]:
    """Two CRMs on one database."""
    url = new_database("crm_api")
    with ExitStack() as exits:
        servers = []
        for _ in range(2):
            servers.append(Server("crm_api", nursery, tmp_path, url))
            exits.callback(servers[-1].close)
            servers[-1].restart(SEED_DEMO_DATA="false")
        yield servers


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=10, trust_env=False) as client:
        yield client


def status(client: httpx.Client, server: Server, token: str) -> int:
    return client.get(f"{server.url}/api/customers", headers=bearer(token)).status_code


def issue(client: httpx.Client, server: Server) -> tuple[str, str]:
    """Have a token issued. Returns its address and its text."""
    answer = client.post(
        f"{server.url}/api/tokens",
        json={"name": "web-shop", "role": "viewer"},
        headers=bearer("admin123"),
    )
    assert answer.status_code == 201, answer.text
    return f"{server.url}/api/tokens/{answer.json()['id']}", answer.json()["token"]


def test_the_other_process_refuses_a_revoked_token_in_time(
    pair: list[Server], client: httpx.Client
) -> None:
    here, there = pair
    address, token = issue(client, here)
    assert [status(client, server, token) for server in pair] == [200, 200]

    assert client.delete(address, headers=bearer("admin123")).status_code == 204
    revoked_at = last_accepted_at = time.monotonic()

    assert status(client, here, token) == 401, "where it was revoked it is refused at once"

    def is_refused() -> bool:
        nonlocal last_accepted_at
        # By when a request was sent, so that a slow machine makes nothing of it.
        sent_at = time.monotonic()
        answered = status(client, there, token)
        assert answered in {200, 401}
        if answered == 200:
            last_accepted_at = sent_at
        return answered == 401

    until(is_refused, "the other process refuses it")
    assert last_accepted_at - revoked_at < PROMISED_SECONDS


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
