"""A release and the next one side by side, and back, while callers go on: it costs nobody an error.

On PostgreSQL there are two of each service, replaced one after another; on SQLite there is one, and
callers wait until the other release runs. The next one has a migration more, which is additive.
"""

import dataclasses
import itertools
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import httpx
import pytest

from service_kit import VERSION
from tests.conftest import bearer
from tests.sweeps import ENGINES
from tests.system.processes import PATIENCE, Nursery, until
from tests.system.stack import Server, Stack, Verdict
from tests.upgrades.code import NEXT

CLIENTS = 3
# How many customers are added between two replacements.
SOME = 8
OUTDATED = "A table's columns have changed"


class Balancer:
    """Sends each request to a replica that is in service, as what stands before them does."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._in_service: list[Server] = []
        self._asked: Counter[Server] = Counter()
        self._changed = threading.Condition()
        no_longer = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.Client(timeout=PATIENCE, trust_env=False, limits=no_longer)

    def ask(self, service: str, method: str, path: str, body: object = None) -> Any:
        """Give what was answered; None for what is an error, which is noted."""
        server = self._choose(service)
        try:
            answer = self._client.request(
                method, f"{server.url}{path}", json=body, headers=bearer("admin123")
            )
            told = "" if answer.is_success else answer.text
        except httpx.TransportError as error:
            told = repr(error)
        finally:
            with self._changed:
                self._asked[server] -= 1
                self._changed.notify_all()
        if told:
            self.errors.append(f"{server.name}: {method} {path}: {told}")
            return None
        return answer.json()

    def put_in(self, server: Server) -> None:
        with self._changed:
            self._in_service.append(server)
            self._changed.notify_all()

    def take_out(self, server: Server) -> None:
        """Send nothing more to a replica, and wait for what it still answers."""
        with self._changed:
            self._in_service.remove(server)
            assert self._changed.wait_for(lambda: not self._asked[server], PATIENCE)

    def close(self) -> None:
        self._client.close()

    def _choose(self, service: str) -> Server:
        def of_service() -> list[Server]:
            return [server for server in self._in_service if server.service == service]

        with self._changed:
            assert self._changed.wait_for(of_service, PATIENCE), f"no {service} is in service"
            server = min(of_service(), key=self._asked.__getitem__)
            self._asked[server] += 1
        return server


class Callers:
    """Several who register customers, change them, and look at all three services."""

    def __init__(self, stack: Stack, balancer: Balancer) -> None:
        self._stack = stack
        self._ask = balancer.ask
        self._is_over = threading.Event()

    def go_on_meanwhile(self) -> None:
        """Wait until some more customers are registered."""
        wanted = self._stack.answered() + SOME
        until(lambda: self._stack.answered() >= wanted, "callers go on", seconds=60)

    def run(self, number: int) -> None:
        for n in itertools.count():
            if self._is_over.is_set():
                return
            self.register(f"caller-{number}-{n}@example.com")
            self.pack_one()
            self._ask("integration_service", "GET", "/deliveries?limit=5")

    def register(self, email: str) -> None:
        self._stack.outcomes[email] = "unknown"
        new = self._ask("crm_api", "POST", "/api/customers", {"name": "Jane", "email": email})
        if new is None:
            return
        self._stack.outcomes[email] = "ok"
        path = f"/api/customers/{new['uid']}"
        changed = self._ask("crm_api", "PATCH", path, {"name": "Jane Doe"})
        found = self._ask("crm_api", "GET", path)
        if changed and found:
            assert found["name"] == "Jane Doe"

    def pack_one(self) -> None:
        pending = self._ask("inventory_api", "GET", "/package-requests?status=pending&limit=5")
        for package in (pending or [])[:1]:
            self._ask("inventory_api", "POST", f"/package-requests/{package['request_id']}/pack")

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(CLIENTS) as threads:
            runs = [threads.submit(self.run, number) for number in range(CLIENTS)]
            try:
                yield
            finally:
                self._is_over.set()
            for run in runs:
                run.result(PATIENCE)


def replace(replicas: list[Server], nursery: Nursery, balancer: Balancer) -> None:
    """Replace a replica of each service, as a rolling update does."""
    for server in replicas:
        balancer.take_out(server)
        code, _ = server.end(signal.SIGTERM)
        assert code == 0, server.tail()
        server.nursery = nursery
        server.start()
    for server in replicas:
        server.wait_until_ready()
        balancer.put_in(server)


def versions(stack: Stack, replicas: list[Server]) -> set[str]:
    answers = [stack.client.get(f"{server.url}/health/ready") for server in replicas]
    return {answer.json()["version"] for answer in answers}


def add_replicas(stack: Stack) -> list[Server]:
    """Add a second one of each service; the integration asks those beside it."""
    crm, inventory, integration = replicas = [
        stack.add_replica(server) for server in tuple(stack.servers)
    ]
    integration.environment.update(CRM_API_URL=crm.url, INVENTORY_API_URL=inventory.url)
    return replicas


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("engine", ENGINES, indirect=True)
def test_callers_meet_no_error_and_every_customer_has_one_package(
    stack: Stack, nursery: Nursery, next_nursery: Nursery, engine: str
) -> None:
    first = list(stack.servers)
    second = add_replicas(stack) if engine == "postgresql" else []
    balancer = Balancer()
    callers = Callers(stack, balancer)
    stack.start()
    for server in stack.servers:
        balancer.put_in(server)

    with closing(balancer), callers.running():
        callers.go_on_meanwhile()
        replace(first, next_nursery, balancer)
        assert versions(stack, first) == {NEXT}
        callers.go_on_meanwhile()
        if second:
            # Such a one may be started anew at any time, with the schema of the next release.
            replace(second, nursery, balancer)
            callers.go_on_meanwhile()
        replace(first, nursery, balancer)
        assert versions(stack, stack.servers) == {VERSION}
        callers.go_on_meanwhile()

    assert balancer.errors == []
    stack.wait_until_quiet()
    verdict = stack.verdict()
    # Each customer is in the feed twice, since each was changed.
    assert not [fault for fault in verdict.feed if "holes" in fault or "order" in fault]
    assert dataclasses.replace(verdict, feed=[]) == Verdict()
    for server in second or first:
        assert f"made by release {NEXT}; this release, {VERSION}, can run on it." in server.logged()
    if second:
        outdated = [server.service for server in second if OUTDATED in server.logged()]
        assert "crm_api" in outdated
