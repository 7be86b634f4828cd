"""The law of the ledger: whatever happens in whatever order, everybody ends with one package."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from integration_service.ledger.lease import LeaseLost
from integration_service.settings import Settings
from service_kit.database import Database, DatabaseUnavailable
from tests.integration_service.conftest import FakeClock, Integration, change
from tests.integration_service.doubles import (
    CrmDouble,
    Fault,
    InventoryDouble,
    after_effect,
    answers,
    raises,
    refuses,
)
from tests.integration_service.fragile import FragileDatabase, Killed, away

LOST = raises(httpx.RemoteProtocolError("Server disconnected without sending a response."))


def some_later(double: InventoryDouble, request: httpx.Request) -> httpx.Response:
    """Make every second package, and put the others off."""
    results = double.carry_out(request).json()
    return httpx.Response(
        200, json=[one if n % 2 else {"status": 503} for n, one in enumerate(results)]
    )


INVENTORY_FAULTS: dict[str, Fault] = {
    "500": answers(500),
    "500 after the effect": after_effect(answers(500)),
    "429": answers(429, {"Retry-After": "60"}),
    "401": answers(401),
    "HTML": after_effect(answers(200, html="<p>")),
    "foreign 400": answers(400, html="<p>"),
    "foreign 409": answers(409, html="<p>"),
    "time-out": raises(httpx.ReadTimeout("")),
    "answer lost": after_effect(LOST),
    "some later": some_later,
}


def again(crm: CrmDouble, request: httpx.Request) -> httpx.Response:
    """Answer the right page, and in it everything that was told before."""
    page = crm.carry_out(request).json()
    return httpx.Response(200, json=page | {"events": crm.events[: page["through_position"]]})


CRM_FAULTS: dict[str, Fault] = {
    "503": answers(503),
    "403": answers(403),
    "malformed": answers(200, json={"events": []}),
    "diverged": refuses(409, "feed-diverged"),
    "time-out": raises(httpx.ReadTimeout("")),
    "told again": again,
}

few = st.integers(0, 4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("register"), st.integers(1, 4)),
        st.tuples(st.just("register again"), few),
        st.tuples(st.just("poll"), st.none() | st.sampled_from(sorted(CRM_FAULTS))),
        st.tuples(st.just("send"), st.none() | st.sampled_from(sorted(INVENTORY_FAULTS))),
        st.tuples(st.just("killed before a write"), few),
        st.tuples(st.just("killed after a write"), few),
        st.tuples(st.just("database away"), few),
        st.tuples(st.just("taken over"), st.none()),
        st.tuples(st.just("time passes"), st.integers(1, 100_000)),
        st.tuples(st.just("clock set"), st.integers(-1_000_000, 1_000_000)),
    ),
    max_size=14,
)


@dataclass
class World:
    """Two processes of the integration, of which at most one has the lease, and all around them."""

    settings: Settings
    database: Database
    clock: FakeClock
    crm: CrmDouble
    inventory: InventoryDouble
    customers: int = 0

    async def begin(self) -> None:
        # Everything as it was when the migrations had run.
        await self.database.write(
            change,
            "DELETE FROM attempts",
            "DELETE FROM deliveries",
            "UPDATE poller SET lease_holder = NULL, lease_epoch = 0, lease_until = NULL,"
            " start_from = NULL, cursor = NULL, position = NULL, feed_state = 'running',"
            " recovered_at = NULL, recovery_cursor = NULL, recovery_page = NULL",
            "UPDATE links SET opened_at = NULL, tried_seconds = 0, succeeded_seconds = NULL,"
            " probe_seconds = 0",
        )
        self.other = await self.process()
        self.one = await self.process()

    async def process(self) -> Integration:
        """Start a process, which finds the lease of the one before run out."""
        await self.database.write(change, "UPDATE poller SET lease_until = NULL")
        fragile = FragileDatabase(self.database)
        return await Integration(self.settings, fragile, self.clock).start()

    async def step(self, name: str, detail: Any) -> None:
        await getattr(self, name.replace(" ", "_"))(detail)

    async def register(self, number: int) -> None:
        for _ in range(number):
            self.customers += 1
            self.crm.register(f"c{self.customers}")

    async def register_again(self, number: int) -> None:
        self.crm.register(*(f"c{n}" for n in range(1, min(number, self.customers) + 1)))

    async def poll(self, fault: str | None) -> None:
        self.crm.fault = CRM_FAULTS[fault] if fault else None
        await self.turn(self.one.poll)

    async def send(self, fault: str | None) -> None:
        self.inventory.fault = INVENTORY_FAULTS[fault] if fault else None
        await self.turn(self.one.send)

    async def killed_before_a_write(self, number: int) -> None:
        self.one.database.before.extend([*[None] * number, Killed()])
        await self.live_and_die()

    async def killed_after_a_write(self, number: int) -> None:
        self.one.database.after.extend([*[None] * number, Killed()])
        await self.live_and_die()

    async def database_away(self, number: int) -> None:
        self.one.database.before.extend([*[None] * number, away()])
        await self.turn(self.one.work)
        self.one.database.heal()

    async def taken_over(self, _: None) -> None:
        self.one, self.other = self.other, self.one
        await self.database.write(change, "UPDATE poller SET lease_until = NULL")
        await self.one.start()

    async def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds=seconds)

    async def clock_set(self, seconds: int) -> None:
        self.clock.jump(seconds=seconds)

    async def turn(self, work: Callable[[], Awaitable[object]]) -> None:
        with suppress(LeaseLost, DatabaseUnavailable):
            await work()

    async def live_and_die(self) -> None:
        with suppress(Killed, LeaseLost):
            await self.one.work()
        await self.one.die()
        self.one = await self.process()

    async def end(self) -> None:
        """Let the world be sound, and time pass."""
        self.crm.fault = self.inventory.fault = None
        # What the other process still believes counts for nothing.
        await self.turn(self.other.work)
        for _ in range(20):
            self.clock.advance(minutes=61)
            await self.one.work()
            if set((await self.one.states()).values()) <= {"delivered"}:
                break
        for one in (self.one, self.other):
            await one.die()


@pytest.fixture
async def patient_loop() -> AsyncIterator[None]:
    """Let a task die by `Killed` without a word in the log, as with its process."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    yield
    loop.set_exception_handler(None)


@examples(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
@example(steps=[("register", 3), ("poll", None), ("clock set", -1_000_000)])
@example(steps=[("register", 3), ("poll", None), ("send", "foreign 400")])
async def test_everybody_ends_with_one_package_whatever_happens_in_whatever_order(
    settings: Settings,
    database: Database,
    crm: CrmDouble,
    inventory: InventoryDouble,
    patient_loop: None,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[tuple[str, Any]],
) -> None:
    monkeypatch.setattr("integration_service.deliveries.dispatch.PAUSE_AFTER_ERROR_SECONDS", 0)
    crm.events.clear()
    inventory.packages.clear()
    crm.may_be_spared = inventory.may_be_spared = True  # a process may die before it asks
    settings = settings.model_copy(update={"batch_size": 3})
    world = World(settings, database, FakeClock(), crm, inventory)

    await world.begin()
    for name, detail in steps:
        await world.step(name, detail)
    await world.end()

    everybody = {f"c{n}" for n in range(1, world.customers + 1)}
    assert inventory.owners == sorted(everybody)
    assert await world.one.states() == dict.fromkeys(everybody, "delivered")
    made = {customer: made["request_id"] for (customer, *_), made in inventory.packages.items()}
    for uid, row in (await world.one.rows()).items():
        assert row.request_id == made[uid]
        assert len((await world.one.delivery(uid)).attempts) == row.attempt_count
    status = await world.one.status()
    assert (status.feed.state, status.feed.lag_events) == ("running", 0)
    assert {circuit.state for circuit in status.circuits.values()} == {"closed"}
