"""How soon a link to PostgreSQL is noticed that has gone mute, with the waits as they are."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.system.database_proxy import proxied
from tests.system.processes import until
from tests.system.stack import Stack

pytestmark = [pytest.mark.engine("postgresql"), pytest.mark.timeout(300)]

PATIENCE = 60.0
LEASE_GIVEN_UP = "This poller gives up its lease"
CONNECTION_ENDED = "PostgreSQL did not answer within"


def test_it_shows_within_seconds(stack: Stack, postgres_server: str) -> None:
    with proxied(postgres_server) as proxy:
        for server in stack.servers:
            server.environment["DATABASE_URL"] = proxy.url(server.database_url)
        del stack.integration.environment["LEASE_SECONDS"]  # as by default
        stack.start()
        stack.add_customers(1)
        stack.wait_until_quiet()

        awaited: dict[str, Callable[[], Any]] = {
            f"{server.name} is not ready": lambda server=server: not server.is_ready()  # type: ignore[misc]
            for server in stack.servers
        }
        awaited["the lease is given up"] = lambda: LEASE_GIVEN_UP in stack.integration.logged()
        awaited["a connection is ended"] = lambda: CONNECTION_ENDED in stack.integration.logged()
        with proxy.mute(), ThreadPoolExecutor(len(awaited)) as threads:
            began_at = time.monotonic()

            def seconds_until(what: str) -> float:
                until(awaited[what], what, seconds=PATIENCE)
                return time.monotonic() - began_at

            for what, seconds in zip(awaited, threads.map(seconds_until, awaited), strict=True):
                print(f"{what} {seconds:.1f} s after the link went mute")  # noqa: T201

        until(lambda: all(one.is_ready() for one in stack.servers), "all heal", seconds=PATIENCE)
        stack.add_customers(2)
        until(stack.is_quiet, "all is quiet", seconds=PATIENCE)
        stack.check()
