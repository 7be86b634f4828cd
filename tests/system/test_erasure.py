"""A person is erased between real processes: nothing more is sent, whoever dies or comes late."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest

from tests.conftest import bearer
from tests.sweeps import ENGINES, SIDES, sample
from tests.system.crash_points import When
from tests.system.processes import PATIENCE, until
from tests.system.proxy import Dropped, Passing, Proxy
from tests.system.stack import ANSWER_SECONDS, APART, TOGETHER, Stack

ERASURES = "/package-requests/erasures"
ADMIN = bearer("admin123")


class People:
    """Customers of a running stack, and what has become of them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def add(self) -> str:
        self.stack.add_customers(1)
        [(uid,)] = self.stack.crm.rows("SELECT uid FROM customers ORDER BY id DESC LIMIT 1")
        return str(uid)

    def erase(self, uid: str) -> None:
        url = f"{self.stack.crm.url}/api/customers/{uid}"
        assert self.stack.client.delete(url, headers=ADMIN).status_code == 204

    def tell_integration(self, what: str) -> None:
        url = f"{self.stack.integration.url}/{what}"
        assert self.stack.client.post(url, headers=ADMIN).is_success

    def wait_until_known(self, uid: str) -> None:
        owed = f"SELECT 1 FROM deliveries WHERE subject = '{uid}'"  # noqa: S608
        until(lambda: self.stack.integration.rows(owed), "the feed has told of the customer")

    def wait_until_applied(self, uid: str) -> None:
        done = (
            "SELECT 1 FROM erasures"  # noqa: S608
            f" WHERE customer_uid = '{uid}' AND done_at IS NOT NULL"
        )
        until(lambda: self.stack.integration.rows(done), "Inventory has applied the erasure")

    def state(self, uid: str) -> str:
        [(state,)] = self.stack.integration.rows(
            f"SELECT state FROM deliveries WHERE subject = '{uid}'"  # noqa: S608
        )
        return str(state)

    def package(self, uid: str) -> str | None:
        """Return the status of the package, where there is one."""
        found = self.stack.inventory.rows(
            f"SELECT status FROM package_requests WHERE customer_id = '{uid}'"  # noqa: S608
        )
        return found[0][0] if found else None


@pytest.fixture
def people(stack: Stack) -> People:
    return People(stack)


@pytest.fixture
def inventory(stack: Stack) -> Iterator[Proxy]:
    """Give what the integration reaches Inventory by."""
    with ExitStack() as exits:
        proxy = exits.enter_context(Proxy(stack.inventory.port))
        # The proxy waits for its clients to end.
        exits.callback(stack.integration.close)
        stack.integration.environment["INVENTORY_API_URL"] = proxy.url
        yield proxy


@pytest.mark.sweep
@pytest.mark.engine(*sample(ENGINES, every=2, first=1))
def test_who_is_erased_while_it_is_paused_gets_nothing_after_it(
    stack: Stack, people: People
) -> None:
    stack.start()
    people.tell_integration("pause")
    jane, john = people.add(), people.add()
    people.wait_until_known(john)
    people.erase(jane)
    until(lambda: people.state(jane) == "skipped", "the erasure is noted")

    people.tell_integration("resume")

    people.wait_until_applied(jane)
    until(lambda: people.state(john) == "delivered", "the other one is served")
    assert (people.package(jane), people.package(john)) == (None, "pending")


@pytest.mark.sweep
@pytest.mark.parametrize(("engine", "when"), sample(SIDES, every=2), indirect=["engine"])
def test_a_poller_that_dies_at_an_erasure_leaves_it_to_the_next(
    stack: Stack, people: People, inventory: Proxy, when: When
) -> None:
    stack.start()
    jane = people.add()
    until(lambda: people.package(jane), "the package is made")

    def kill(passing: Passing) -> None:
        if passing.when == when and passing.path == ERASURES:
            inventory.watch = lambda _: None
            os.kill(stack.integration.pid, signal.SIGKILL)
            raise Dropped

    inventory.watch = kill
    people.erase(jane)
    until(lambda: stack.integration.is_dead, "the integration dies")
    assert people.package(jane) == {"before": "pending", "after": "cancelled"}[when]
    stack.revive()

    people.wait_until_applied(jane)
    assert (people.state(jane), people.package(jane)) == ("undone", "cancelled")


@pytest.mark.sweep
@pytest.mark.engine(*sample(ENGINES, every=2))
# Sent while it was noted, the dead process has left no trace of it; or it was noted as claimed.
@pytest.mark.parametrize(("seconds", "state"), [(TOGETHER, "skipped"), (APART, "undone")])
def test_a_request_that_arrives_after_the_erasure_makes_no_package(
    stack: Stack, people: People, inventory: Proxy, seconds: float, state: str
) -> None:
    stack.integration.constants[ANSWER_SECONDS] = seconds
    is_applied = Event()
    passed: list[Passing] = []

    def delay(passing: Passing) -> None:
        if passing.when == "before" and passing.path == "/package-requests/batch":
            inventory.watch = passed.append
            if seconds == APART:
                until(lambda: stack.integration.rows("SELECT id FROM deliveries"), "it is noted")
            os.kill(stack.integration.pid, signal.SIGKILL)
            assert is_applied.wait(PATIENCE)

    stack.integration.constants["integration_service.deliveries.erasing:RETRY_SECONDS"] = 0.5
    stack.start()
    inventory.watch = delay
    jane = people.add()
    until(lambda: stack.integration.is_dead, "the integration dies")
    people.erase(jane)
    stack.revive()
    people.wait_until_applied(jane)
    assert people.state(jane) == state

    is_applied.set()

    until(
        lambda: any(one.path == "/package-requests/batch" for one in passed),
        "the late request is answered",
    )
    assert people.package(jane) in {None, "cancelled"}


@pytest.mark.engine("sqlite")
def test_a_restored_inventory_gets_its_erasures_again_by_itself(
    stack: Stack, people: People, tmp_path: Path
) -> None:
    stack.start()
    jane, john = people.add(), people.add()
    until(lambda: people.package(jane) and people.package(john), "both are served")
    live = Path(stack.inventory.database_url.removeprefix("sqlite:///"))
    stack.inventory.end(signal.SIGTERM)
    shutil.copy(live, tmp_path / "backup.db")
    stack.inventory.restart()
    people.erase(jane)
    people.wait_until_applied(jane)
    stack.inventory.end(signal.SIGTERM)
    shutil.copy(tmp_path / "backup.db", live)
    stack.inventory.restart()
    assert people.package(jane) == "pending"

    stack.integration.end(signal.SIGTERM)
    stack.integration.restart(RECONCILE_INTERVAL_SECONDS="0.5")

    until(lambda: people.package(jane) == "cancelled", "the erasure is applied again")
    assert people.package(john) == "pending"
    assert people.state(jane) == "undone"
