"""Several integrations on one database: one polls, another takes over, a zombie changes nothing."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration_service.ledger.lease import LeaseExpired, LeaseLost
from tests.conftest import bearer
from tests.sweeps import ENGINES, sample
from tests.system.processes import Nursery, until
from tests.system.proxy import Passing, Proxy
from tests.system.stack import Server, Stack

# How one that was passed by finds out: it is told, or its database has given it up as well.
PASSED_BY = (str(LeaseLost()), str(LeaseExpired()))


@pytest.fixture
def inventory_proxy(stack: Stack) -> Iterator[Proxy]:
    with Proxy(stack.inventory.port) as proxy:
        yield proxy


@pytest.fixture
def other(stack: Stack, nursery: Nursery, tmp_path: Path) -> Iterator[Server]:
    """A second integration on the same database, not yet started."""
    folder = tmp_path / "other"
    folder.mkdir()
    server = Server("integration_service", nursery, folder, stack.integration.database_url)
    yield server
    server.close()


def ledger(stack: Stack) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that a poller writes, but for the lease, which its heir goes on renewing."""
    rows = stack.integration.rows
    return {
        "deliveries": rows("SELECT * FROM deliveries ORDER BY id"),
        "attempts": rows("SELECT * FROM attempts ORDER BY id"),
        "counts": rows("SELECT * FROM attempt_counts ORDER BY outcome"),
        "feed": rows("SELECT lease_epoch, cursor, position, feed_state FROM poller"),
    }


def stop_between_writes(server: Server) -> None:
    """Stop a process where it is not writing: SQLite keeps all others out until a writer ends."""

    def is_stopped_and_holds_no_lock() -> bool:
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(0.05)
        if server.takes_writes():
            return True
        os.kill(server.pid, signal.SIGCONT)
        return False

    until(is_stopped_and_holds_no_lock, "it stops between two writes")


@pytest.mark.sweep
@pytest.mark.engine(*sample(ENGINES, every=2, first=1))
def test_a_poller_that_is_stopped_in_the_middle_of_a_turn_and_passed_by_changes_nothing(
    stack: Stack, inventory_proxy: Proxy, other: Server
) -> None:
    environment = {"INVENTORY_API_URL": inventory_proxy.url, "LEASE_SECONDS": "1"}
    stack.integration.environment.update(environment)
    other.environment.update(stack.integration.environment)
    stack.start()
    until(lambda: stack.polls(stack.integration), "the first one polls")
    other.restart()
    zombie = stack.integration.pid
    batches = []

    def watch(passing: Passing) -> None:
        if passing.when == "before":
            batches.append(passing.request)
            if len(batches) == 1:
                stop_between_writes(stack.integration)

    inventory_proxy.watch = watch
    stack.add_customers(1)
    try:
        until(lambda: stack.polls(other), "the other one takes over", seconds=40)
        until(
            lambda: stack.integration.rows("SELECT 1 FROM deliveries WHERE state = 'delivered'"),
            "the other one delivers",
        )
        stack.wait_until_quiet()
        before = ledger(stack)
    finally:
        os.kill(zombie, signal.SIGCONT)

    # Its batch is answered now, and it goes to write that down.
    until(
        lambda: any(line in stack.integration.logged() for line in PASSED_BY),
        "it finds out that it was passed by",
    )

    assert ledger(stack) == before
    assert len(batches) == 2
    assert batches[0] == batches[1]
    assert before["counts"] == [("success", 1)]
    assert stack.polls(other)
    assert not stack.polls(stack.integration)
    # It still stands by, and can be needed again.
    other.end(signal.SIGTERM)
    stack.add_customers(1)
    stack.wait_until_quiet()
    assert stack.polls(stack.integration)
    stack.check()


@pytest.mark.engine("postgresql")
def test_after_a_kill_the_other_one_goes_on_when_the_lease_has_run_out(
    stack: Stack, other: Server
) -> None:
    stack.start()
    other.environment.update(stack.integration.environment)
    other.restart()
    until(lambda: stack.polls(stack.integration), "the first one polls")
    stack.add_customers(3)
    stack.wait_until_quiet()
    # Which replica is told makes no difference.
    answer = stack.client.post(f"{other.url}/pause", headers=bearer("admin123"))
    assert answer.status_code == 200
    stack.add_customers(1)
    stack.integration.end(signal.SIGKILL)

    until(lambda: stack.polls(other), "the other one takes over", seconds=40)
    until(
        lambda: stack.integration.rows("SELECT 1 FROM deliveries WHERE state = 'pending'"),
        "it reads, and is paused as the first one was",
    )
    stack.client.post(f"{other.url}/resume", headers=bearer("admin123"))

    stack.wait_until_quiet()
    stack.check()
