"""The integration dies before and after each step of a turn. Nobody is lost, nobody served twice.

At the network's steps a proxy kills it, which sees each request and each answer; at the database's
a proxy that sees each commit, or, on SQLite, a crash point at the commit's flush.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import httpx
import pytest

from tests.conftest import bearer
from tests.sweeps import ENGINES, sample
from tests.system.crash_points import When, environment
from tests.system.database_proxy import proxied
from tests.system.processes import PATIENCE, until
from tests.system.proxy import Dropped, Passing, Proxy
from tests.system.stack import ANSWER_SECONDS, APART, TOGETHER, Stack


@dataclass(frozen=True)
class Left:
    """What the dead has left behind, by which one sees at which step it died."""

    noted: int
    claimed: int
    made: int
    delivered: int


NOTHING = Left(noted=0, claimed=0, made=0, delivered=0)
CLAIMED = Left(noted=1, claimed=1, made=0, delivered=0)
# A package that is made may be known to nobody but Inventory: the page is read again.
MADE = Left(noted=0, claimed=0, made=1, delivered=0)
MADE_AND_CLAIMED = Left(noted=1, claimed=1, made=1, delivered=0)
DELIVERED = Left(noted=1, claimed=0, made=1, delivered=1)


class Turn:
    """A stack whose integration talks through proxies, and looks at the feed when it is told to."""

    def __init__(self, stack: Stack, crm: Proxy, inventory: Proxy) -> None:
        self.stack = stack
        self.crm = crm
        self.inventory = inventory

    def start(self) -> None:
        """Start all three, and let the look at the feed pass with which the integration starts."""
        self.stack.start()
        looked = "SELECT 1 FROM poller WHERE last_poll_at IS NOT NULL"
        until(lambda: self.stack.integration.rows(looked), "it has looked at the feed")

    def look(self) -> None:
        """Add a customer, and have the integration look at the feed once."""
        self.stack.add_customers(1)
        url = f"{self.stack.integration.url}/poll"
        with suppress(httpx.TransportError):  # it may die before it has answered
            answer = self.stack.client.post(url, headers=bearer("admin123"))
            assert answer.status_code == 202, answer.text

    def left(self) -> Left:
        [(noted, claimed, delivered)] = self.stack.integration.rows(
            "SELECT count(*), count(claimed_epoch), count(delivered_at) FROM deliveries"
        )
        [(made,)] = self.stack.inventory.rows("SELECT count(*) FROM package_requests")
        return Left(noted, claimed, made, delivered)

    def kill(self) -> None:
        """Kill the integration from within a proxy's thread."""
        os.kill(self.stack.integration.pid, signal.SIGKILL)
        raise Dropped

    def die_and_recover(self) -> Left:
        """Wait for the death, then start it again and find every promise kept."""
        until(lambda: self.stack.integration.is_dead, "the integration dies")
        left = self.left()
        self.crm.watch = self.inventory.watch = lambda _: None
        self.stack.revive()
        self.stack.wait_until_quiet()
        self.stack.check()
        assert self.left() == DELIVERED
        return left


def drop() -> None:
    """Lose a request of a process that is to die before it is answered."""
    raise Dropped


@pytest.fixture
def turn(stack: Stack) -> Iterator[Turn]:
    # It looks at the feed at its start, and then when it is told to; nor does it renew its lease.
    stack.integration.environment.update(
        POLLING_INTERVAL_SECONDS="3600", LONG_POLL_SECONDS="0", LEASE_SECONDS="300"
    )
    with ExitStack() as exits:
        crm = exits.enter_context(Proxy(stack.crm.port))
        inventory = exits.enter_context(Proxy(stack.inventory.port))
        # The proxies wait for their clients to end.
        exits.callback(stack.integration.close)
        stack.integration.environment.update(CRM_API_URL=crm.url, INVENTORY_API_URL=inventory.url)
        yield Turn(stack, crm, inventory)


def at(when: When, path: str, act: Callable[[], None]) -> Callable[[Passing], None]:
    """Act on a request that brings or tells of a customer, or on its answer."""

    def watch(passing: Passing) -> None:
        if passing.when == when and passing.path.startswith(path):
            act()

    return watch


@pytest.mark.engine("sqlite")
@pytest.mark.parametrize(
    ("when", "step", "expected"),
    [
        ("before", "fetch", NOTHING),
        ("after", "fetch", NOTHING),
        ("before", "send", NOTHING),
        ("after", "send", MADE),
    ],
)
def test_it_dies_at_a_step_on_the_network(
    turn: Turn, when: When, step: str, expected: Left
) -> None:
    turn.stack.integration.constants[ANSWER_SECONDS] = TOGETHER
    turn.start()
    path = {"fetch": "/api/events", "send": "/package-requests"}[step]
    proxy = {"fetch": turn.crm, "send": turn.inventory}[step]
    proxy.watch = at(when, path, turn.kill)

    turn.look()

    assert turn.die_and_recover() == expected


# Of POST /poll, and of the loop that asks whether somebody wants a comparison.
AT_WAKE_UP = 2


AT_COMMITS: list[tuple[float, When, int, Left]] = [
    # The first commit after a page has come notes it, and what came of it too.
    (TOGETHER, "before", 1, MADE),
    (TOGETHER, "after", 1, DELIVERED),
    # Or it notes it as claimed, and the second settles it.
    (APART, "after", 1, CLAIMED),
    (APART, "before", 1, NOTHING),
    (APART, "before", 2, MADE_AND_CLAIMED),
    (APART, "after", 2, DELIVERED),
]


@pytest.mark.sweep
@pytest.mark.engine("postgresql")
@pytest.mark.parametrize(("seconds", "when", "commit", "expected"), sample(AT_COMMITS, every=2))
def test_it_dies_at_a_commit(
    turn: Turn, postgres_server: str, seconds: float, when: When, commit: int, expected: Left
) -> None:
    commits = earlier = 0
    with ExitStack() as exits:
        database = exits.enter_context(proxied(postgres_server))
        exits.callback(turn.stack.integration.end)

        def at_earlier(moment: When) -> None:
            nonlocal earlier
            earlier += moment == "after"

        def at_commit(moment: When) -> None:
            nonlocal commits
            commits += moment == "before"
            if (moment, commits) == (when, commit):
                database.watch = lambda _: None
                turn.kill()

        def begin() -> None:
            # Whoever tells it to look wakes every loop: one of them writes too.
            until(lambda: earlier >= AT_WAKE_UP, "all that the wake-up leads to is written")
            database.watch = at_commit

        integration = turn.stack.integration
        integration.constants[ANSWER_SECONDS] = seconds
        integration.environment["DATABASE_URL"] = database.url(integration.database_url)
        turn.start()
        turn.crm.watch = at("after", "/api/events", begin)
        if (seconds, commit) == (APART, 1):
            turn.inventory.watch = at("before", "/package-requests", drop)
        database.watch = at_earlier
        turn.look()

        assert turn.die_and_recover() == expected


# The flush of which commit, on which side; every second one is each commit once. What is written
# before a flush outlives the process: only on the disk it is not yet.
FLUSHES = [
    (TOGETHER, "before", 1, DELIVERED),
    (TOGETHER, "after", 1, DELIVERED),
    (APART, "after", 1, CLAIMED),
    (APART, "before", 1, CLAIMED),
    (APART, "before", 2, DELIVERED),
    (APART, "after", 2, DELIVERED),
]


@pytest.mark.sweep
@pytest.mark.engine("sqlite")
@pytest.mark.parametrize(("seconds", "when", "flush", "expected"), sample(FLUSHES, every=2))
def test_it_dies_at_a_flush(
    turn: Turn,
    seconds: float,
    when: When,
    flush: int,
    expected: Left,
    library: Path,
    tmp_path: Path,
) -> None:
    armed_by = tmp_path / "armed"
    point = environment(library, "fsync", when, flush, armed_by)
    integration = turn.stack.integration
    integration.environment.update(point)
    integration.constants[ANSWER_SECONDS] = seconds

    turn.start()
    if (seconds, flush) == (APART, 1):
        turn.inventory.watch = at("before", "/package-requests", drop)
    turn.crm.watch = at("after", "/api/events", armed_by.touch)
    turn.look()
    until(lambda: turn.stack.integration.is_dead, "the integration dies")
    armed_by.unlink()

    assert turn.die_and_recover() == expected


@pytest.mark.sweep
@pytest.mark.engine(*sample(ENGINES, every=2, first=1))
def test_a_request_of_the_dead_that_arrives_late_makes_no_second_package(turn: Turn) -> None:
    recovered = Event()
    passed: list[Passing] = []

    def delay() -> None:
        turn.inventory.watch = passed.append
        os.kill(turn.stack.integration.pid, signal.SIGKILL)
        assert recovered.wait(PATIENCE)

    turn.start()
    turn.inventory.watch = at("before", "/package-requests", delay)
    turn.look()
    until(lambda: turn.stack.integration.is_dead, "the integration dies")
    turn.stack.revive()
    turn.stack.wait_until_quiet()
    [_, first] = passed

    recovered.set()
    [late] = until(lambda: passed[2:], "the late request is answered")

    assert late.request == first.request
    turn.stack.check()
    assert turn.left() == DELIVERED
