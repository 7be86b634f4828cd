"""Each service dies before and after its N-th flush or send, for each N, and no promise breaks.

On SQLite every commit is a flush. On PostgreSQL the services flush nothing: there each dies at its
N-th message to the database, a client or another service. `make sweeps` tries every N of each
service on each side; `make test` some between the first and the last, on one side of each service:
on one engine before what happens, on the other one after it.
"""

import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import SERVICES, NewDatabase
from tests.sweeps import SIDES, is_whole, sample
from tests.system.crash_points import Kind, When, environment
from tests.system.planting import Change, copy_of_the_code
from tests.system.processes import Nursery
from tests.system.stack import Server, Stack, Verdict

# How many points of each kind there are on each side, of which a sample is every so manieth. A
# service that asks again and again never comes to an end of its messages.
MOST_POINTS: dict[Kind, int] = {"fsync": 12, "send": 40}
SAMPLED: dict[Kind, int] = {"fsync": 5, "send": 20}

# On each engine, each service, on each side; of which a sample is one side on each engine.
EVERYWHERE = [(engine, service, when) for service in SERVICES for engine, when in SIDES]
each_service = pytest.mark.parametrize("service", SERVICES)


class Points:
    """The crash points of one server. Each process of it has one of its own, told at its start."""

    def __init__(self, server: Server, when: When, library: Path, folder: Path) -> None:
        self.server = server
        self.kind: Kind = "fsync" if server.uses_sqlite else "send"
        self.when = when
        # "After" a message is "before" the next: with both sides, every second number says it all.
        # With flushes it is not, for what is written before a flush outlives the process.
        self.step = 1 if self.kind == "fsync" else 2
        self._library = library
        self._folder = folder

    def all(self) -> Sequence[int]:
        return range(1, 1 + self.step * MOST_POINTS[self.kind], self.step)

    def sample(self) -> Sequence[int]:
        """Return some points, the first of which is surely reached; on each side others."""
        every = SAMPLED[self.kind]
        return sample(self.all(), every=every, first=0 if self.when == "before" else 1)

    def prepare(self, n: int) -> None:
        """Let the process that is started next be the one for point n."""
        point = environment(self._library, self.kind, self.when, n, self._arming_file(n))
        self.server.environment.update(point)

    def arm(self, n: int) -> None:
        """Let the process for point n die at its n-th call from now on, or from its start."""
        self._arming_file(n).touch()

    def disarm(self, n: int) -> None:
        self._arming_file(n).unlink()

    def tell(self, tried: int) -> None:
        fired = self.server.deaths
        what = f"{self.server.name}, {self.kind}, {self.when}"
        sys.stdout.write(f"{what}: {tried} points tried, {fired} fired\n")

    def _arming_file(self, n: int) -> Path:
        return self._folder / f"{self.server.name}-{self.when}-{n}"


def crashes(stack: Stack, points: Points, numbers: Sequence[int]) -> Iterator[tuple[int, Verdict]]:
    """Start a stack, and let its server die at one point after another until one is not reached.

    The process that takes over from the one that died at a point is the one for the next point.
    """
    points.prepare(numbers[0])
    stack.start()
    # The first commit after a start flushes more than those that follow.
    work(stack)
    last = numbers[-1] + points.step  # it is prepared, and never armed
    for deaths, (n, following) in enumerate(itertools.pairwise([*numbers, last]), 1):
        points.prepare(following)
        points.arm(n)
        work(stack)
        points.disarm(n)
        stack.revive()
        stack.wait_until_ready()
        yield n, stack.verdict()
        if points.server.deaths < deaths:
            break


def work(stack: Stack) -> None:
    """Have one customer alone, then two at once, go all the way; start again whoever dies."""
    for number in (1, 2):
        stack.add_customers(number, meanwhile=stack.revive)
        stack.wait_until_quiet(meanwhile=stack.revive)


@pytest.mark.sweep
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("engine", "service", "when"), sample(EVERYWHERE, every=2), indirect=["engine"]
)
def test_a_service_dies_at_every_point_and_every_customer_has_one_package(
    stack: Stack, service: str, when: When, library: Path, tmp_path: Path
) -> None:
    points = Points(stack.server(service), when, library, tmp_path)

    tried = 0
    for n, verdict in crashes(stack, points, points.sample()):
        tried += 1
        assert verdict == Verdict(), f"{points.kind} {when} {n}"

    points.tell(tried)
    assert points.server.deaths >= (2 if is_whole() else 1)


@pytest.mark.long
@pytest.mark.engine("sqlite")
@each_service
def test_a_service_that_dies_again_and_again_while_it_recovers_does_so_in_the_end(
    stack: Stack, service: str, library: Path, tmp_path: Path
) -> None:
    """Each process gets one flush further than the one before: into its start, then its work."""
    points = Points(stack.server(service), "after", library, tmp_path)
    armed: list[int] = []

    def revive() -> None:
        if points.server.is_dead:
            armed.append(len(armed) + 1)
            points.prepare(armed[-1])
            points.arm(armed[-1])
            points.server.revive()

    stack.start()
    stack.add_customers(1)
    points.server.end()
    stack.add_customers(2, meanwhile=revive)
    stack.wait_until_quiet(meanwhile=revive)
    for n in armed:
        points.disarm(n)
    revive()
    stack.wait_until_ready()

    points.tell(len(armed))
    assert len(armed) > 3
    stack.check()


# ---- The harness finds the bugs that it is there to find ----


TWO_TRANSACTIONS = [
    Change(
        "crm_api/customers/registration.py",
        """
    record(db, *map(CustomerCreated, found.values()), by=who)
""",
        """
    add.later = [*map(CustomerCreated, found.values())]
""",
    ),
    Change(
        "crm_api/customers/router.py",
        """
    return _created_answer(await write(service.register, new, principal_of(request))).response()
""",
        """
    added = await write(service.register, new, principal_of(request))
    adding = service.registration
    if later := vars(adding.add).pop("later", None):
        write = database_of(request).write
        await write(adding.record, *later, by=principal_of(request))
    return _created_answer(added).response()
""",
    ),
]
CURSOR_BEFORE_DELIVERIES = [
    # With nobody to send them meanwhile, a page's customers are noted and then claimed.
    Change(
        "integration_service/feed/ingest.py",
        "if self.send_ahead is None or ",
        "if self.send_ahead is not None or ",
    ),
    Change(
        "integration_service/feed/ingest.py",
        "new = await write(store.note_page, lease, arrivals, ",
        "await write(store.note_page, lease, [], ",
    ),
    Change(
        "integration_service/feed/ingest.py",
        """
        for arrival in new:
""",
        """
        new = await self._database.write(store.owe, arrivals, now)
        for arrival in new:
""",
    ),
]
DELIVERED_BEFORE_SENT = [
    # It is noted as delivered before the call, which then waits for the note.
    Change(
        "integration_service/deliveries/dispatch.py",
        """
            called = await self._call(ahead.batch, requests)
""",
        """
            soon = [Made(200, "soon") for _ in requests]
            called = Called(soon, self._clock(), 0.0)
            ahead.settlements = self._delivered(ahead.batch, soon, called)
            ahead.answered.set()
            await asyncio.wait({ahead.noted})
            called = await self._call(ahead.batch, requests)
""",
    ),
]


@pytest.mark.long
@pytest.mark.engine("sqlite")
@pytest.mark.parametrize(
    ("service", "bug"),
    [
        pytest.param("crm_api", TWO_TRANSACTIONS, id="customer and event in two transactions"),
        pytest.param(
            "integration_service", CURSOR_BEFORE_DELIVERIES, id="cursor before deliveries"
        ),
        pytest.param("integration_service", DELIVERED_BEFORE_SENT, id="delivered before sent"),
    ],
)
def test_a_planted_bug_is_found(
    new_database: NewDatabase, service: str, bug: Sequence[Change], library: Path, tmp_path: Path
) -> None:
    with Nursery(copy_of_the_code(tmp_path / "code", bug), library) as nursery:
        found = any(
            first_point_that_loses_a_customer(new_database, nursery, service, when, library, folder)
            for when, folder in (("after", tmp_path / "after"), ("before", tmp_path / "before"))
        )

    assert found, "the harness has missed it"


def first_point_that_loses_a_customer(
    new_database: NewDatabase,
    nursery: Nursery,
    service: str,
    when: When,
    library: Path,
    folder: Path,
) -> int | None:
    folder.mkdir()
    with Stack(folder, nursery, new_database) as stack:
        points = Points(stack.server(service), when, library, folder)
        found = crashes(stack, points, points.all())
        return next((n for n, verdict in found if verdict.missing), None)
