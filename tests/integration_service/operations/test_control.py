"""What operators do: retry, pause and resume, have it look, wait for a delivery."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from integration_service.app import create_app
from integration_service.deliveries import erasures, retry_policy, router, service, store
from integration_service.deliveries.models import ErasedCustomer
from integration_service.feed import store as feed_store
from integration_service.ledger import control
from integration_service.ledger import lease as leases
from integration_service.ledger.lease import Lease
from integration_service.routes.definitions import WELCOME
from integration_service.settings import Settings
from service_kit.database import Database
from service_kit.process import clock as system_clock
from service_kit.process.clock import rfc3339
from service_kit.process.stopping import Stopping
from service_kit.web import overload
from service_kit.web.auth import COMMAND_LINE
from tests.conftest import running
from tests.integration_service.conftest import FakeClock, Integration, Log, Start, change
from tests.integration_service.doubles import CrmDouble, InventoryDouble, answers, refuses_each
from tests.inventory_api.conftest import keeps_its_word


@pytest.fixture
async def api(
    settings: Settings, integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> AsyncIterator[httpx.AsyncClient]:
    """A replica that stands by, as an admin sees it."""
    async with running(create_app(settings), token="admin123") as client:
        yield keeps_its_word(client)


async def told(api: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await api.post(path, json=body) if body else await api.post(path)
    assert answer.is_success, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def seen(integration: Integration, is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so; looked at again after each change of the database."""
    async with asyncio.timeout(10):
        while not await is_so():
            await asyncio.wait([integration.database.committed.next()], timeout=0.05)


def be_now(integration: Integration) -> None:
    """Go on to the time by which the API says when something is due."""
    integration.clock.instant = system_clock.now()


# --- retry


async def die(integration: Integration, crm: CrmDouble, inventory: InventoryDouble) -> None:
    crm.register("ada")
    inventory.faults.append(refuses_each(422, "invalid-request"))
    await integration.work()
    assert await integration.states() == {"ada": "dead"}


async def test_a_dead_one_is_sent_again_under_its_identity_and_keeps_its_history(
    integration: Integration, api: httpx.AsyncClient, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    await die(integration, crm, inventory)

    first = await told(api, "/deliveries/ada/retry")
    assert (first["state"], first["error"], first["attempt_count"]) == ("pending", None, 0)
    # Once more does no more: it is about to be sent.
    assert await told(api, "/deliveries/ada/retry") == first
    be_now(integration)
    await integration.send()

    shown = (await api.get("/deliveries/ada")).json()
    assert shown["state"] == "delivered"
    assert [one["status"] for one in shown["attempts"]] == [422, 201]
    assert inventory.requests[0].content == inventory.requests[1].content
    assert inventory.owners == ["ada"]


async def test_one_that_waits_no_longer_waits(
    integration: Integration, api: httpx.AsyncClient, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("ada")
    inventory.faults.append(answers(429, {"Retry-After": "3600"}))
    await integration.work()
    await integration.send()
    assert inventory.owners == []
    be_now(integration)
    before = await integration.database.read(control.control_state)

    assert (await told(api, "/deliveries/ada/retry"))["attempt_count"] == 1
    assert (
        await integration.database.read(control.control_state) != before
    )  # the poller looks at once
    integration.clock.advance(seconds=1)
    await integration.send()

    assert inventory.owners == ["ada"]


async def test_what_is_finished_stays_and_what_is_unknown_is_refused(
    integration: Integration, api: httpx.AsyncClient, crm: CrmDouble
) -> None:
    crm.register("ada")
    crm.publish({"type": "customer.created", "nonsense": True})
    await integration.work()
    [unreadable] = [uid for uid in await integration.states() if uid != "ada"]
    shown = (await api.get("/deliveries/ada")).json()

    assert (await told(api, "/deliveries/ada/retry"))["state"] == "delivered"
    for uid, status, slug in (
        (unreadable, 409, "delivery-not-retryable"),
        ("nobody", 404, "delivery-not-found"),
    ):
        answer = await api.post(f"/deliveries/{uid}/retry")
        assert (answer.status_code, answer.json()["type"]) == (status, f"urn:problem:{slug}")
    assert (await told(api, "/deliveries/retry", state="dead"))["retried"] == 0
    assert (await api.get("/deliveries/ada")).json() == shown


async def test_many_are_retried_by_state_and_class_page_by_page(
    integration: Integration,
    api: httpx.AsyncClient,
    crm: CrmDouble,
    inventory: InventoryDouble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "PAGE", 2)
    crm.register(*(f"c{n}" for n in range(7)))
    await integration.poll()
    await integration.database.write(
        change,
        "UPDATE deliveries SET state = 'dead', next_attempt_at = NULL, error_class = 'refused'",
        "UPDATE deliveries SET error_class = 'transient' WHERE subject IN ('c1', 'c3')",
        "UPDATE deliveries SET error_class = 'unreadable' WHERE subject = 'c6'",
    )

    dry = await told(api, "/deliveries/retry", error_class="refused", dry_run=True)
    assert dry == {
        "dry_run": True,
        "matched": 4,
        "retried": 4,
        "customer_uids": ["c0", "c2", "c4", "c5"],
        "event_ids": [],
    }
    assert set((await integration.states()).values()) == {"dead"}

    some = await told(api, "/deliveries/retry", error_class="refused", limit=3)
    assert (some["matched"], some["retried"], some["customer_uids"]) == (4, 3, ["c0", "c2", "c4"])
    rest = await told(api, "/deliveries/retry", state="dead")
    assert rest["customer_uids"] == ["c1", "c3", "c5"]
    be_now(integration)
    await integration.send()
    states = await integration.states()
    assert states.pop("c6") == "dead"
    assert set(states.values()) == {"delivered"}


@pytest.mark.parametrize(
    "body", [{"state": "delivered"}, {"limit": 0}, {"limit": 100_001}, {"error_class": "x"}]
)
@pytest.mark.engine("sqlite")
async def test_a_retry_that_makes_no_sense_is_refused(
    api: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    assert (await api.post("/deliveries/retry", json=body)).status_code == 422


# --- dismiss


async def test_a_dead_one_is_dismissed_and_keeps_its_history_until_a_retry_takes_it_back(
    integration: Integration, api: httpx.AsyncClient, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    await die(integration, crm, inventory)
    before = (await api.get("/deliveries/ada")).json()

    first = await told(api, "/deliveries/ada/dismiss", reason=" She has one by hand. ")
    assert (first["state"], first["dismissed_by"]) == ("skipped", "admin")
    assert first["dismissed_reason"] == "She has one by hand."
    kept = ("error", "error_class", "problem", "attempts")
    assert {name: first[name] for name in kept} == {name: before[name] for name in kept}
    # The first one counts.
    assert await told(api, "/deliveries/ada/dismiss", reason="Another.") == first
    assert (await api.get("/deliveries/ada")).json() == first
    assert (await api.get("/deliveries?state=dead")).json() == []
    run = await integration.reconcile(repair=True)
    assert (run.missing, run.skipped, run.repaired) == (0, 1, 0)
    assert (await told(api, "/deliveries/retry", state="dead"))["matched"] == 0

    await told(api, "/deliveries/ada/retry")
    be_now(integration)
    await integration.send()
    shown = (await api.get("/deliveries/ada")).json()
    assert (shown["state"], shown["dismissed_at"]) == ("delivered", None)
    assert [one["status"] for one in shown["attempts"]] == [422, 201]


async def test_an_unreadable_one_is_dismissed_and_nothing_that_is_not_dead(
    integration: Integration, api: httpx.AsyncClient, crm: CrmDouble
) -> None:
    crm.register("ada")
    crm.publish({"type": "customer.created", "nonsense": True})
    await integration.work()
    [unreadable] = [uid for uid in await integration.states() if uid != "ada"]

    dismissed = await told(api, f"/deliveries/{unreadable}/dismiss", reason="Found by repair.")
    assert (dismissed["state"], dismissed["error_class"]) == ("skipped", "unreadable")
    assert dismissed["raw"] is not None
    left = await told(api, "/deliveries/ada/dismiss", reason="No.")
    assert (left["state"], left["dismissed_at"]) == ("delivered", None)

    reason = {"reason": "No."}
    for uid, body, status, slug in (
        (unreadable, None, 409, "delivery-not-retryable"),
        ("nobody", reason, 404, "delivery-not-found"),
        (unreadable, {}, 422, "invalid-request"),
        (unreadable, {"reason": " "}, 422, "invalid-request"),
        (unreadable, {"reason": "a\nb"}, 422, "invalid-request"),
    ):
        action = "retry" if body is None else "dismiss"
        answer = await api.post(f"/deliveries/{uid}/{action}", json=body)
        assert (answer.status_code, answer.json()["type"]) == (status, f"urn:problem:{slug}")
    assert await integration.states() == {"ada": "delivered", unreadable: "skipped"}


# --- pause and resume


async def test_while_it_is_paused_nothing_is_sent_and_the_feed_is_read(
    integration: Integration, api: httpx.AsyncClient, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    paused = await told(api, "/pause")
    assert paused["paused"]
    assert await told(api, "/pause") == paused
    crm.register("ada")
    await integration.database.write(
        erasures.note, [ErasedCustomer("zoe", None)], integration.clock()
    )

    await integration.work()
    assert not await integration.poller.erasing.erase_some(integration.lease)

    assert inventory.requests == []
    status = (await api.get("/status")).json()
    assert status["deliveries"]["pending"] == 1
    assert status["paused_at"] == paused["paused_at"]

    assert await told(api, "/resume") == {"paused": False, "paused_at": None}
    await integration.work()
    assert inventory.owners == ["ada"]


async def test_a_pause_outlives_the_process(
    integration: Integration,
    api: httpx.AsyncClient,
    crm: CrmDouble,
    inventory: InventoryDouble,
    log: Log,
) -> None:
    await told(api, "/pause")
    heir = await integration.restarted()
    crm.register("ada")

    await heir.work()

    assert inventory.requests == []
    assert any(line.startswith("Paused since ") for line in log.warnings)
    await heir.die()


async def pause_all(integration: Integration, now: datetime) -> None:
    await integration.database.write(control.pause, now, COMMAND_LINE)


async def resume_all(integration: Integration) -> None:
    await integration.database.write(control.resume, COMMAND_LINE)


async def pause_route(integration: Integration, now: datetime) -> None:
    await integration.database.write(control.pause_route, WELCOME.name, now, COMMAND_LINE)


async def resume_route(integration: Integration) -> None:
    await integration.database.write(control.resume_route, WELCOME.name, COMMAND_LINE)


PAUSES = pytest.mark.parametrize(
    ("pause", "resume"),
    [(pause_all, resume_all), (pause_route, resume_route)],
    ids=["all", "the route"],
)


@PAUSES
async def test_no_delivery_grows_older_while_it_is_paused(
    pause: Callable[[Integration, datetime], Awaitable[None]],
    resume: Callable[[Integration], Awaitable[None]],
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry_policy, "LEAST_ATTEMPTS", 3)
    crm.register("ada")
    inventory.fault = answers(429)
    await integration.work()
    first = clock()

    async def heed() -> None:
        await integration.poller.control.check(integration.lease)

    clock.advance(hours=1)
    await pause(integration, clock())
    await heed()
    clock.advance(hours=1000)
    heir = await integration.restarted()  # paused on both sides of a restart
    clock.advance(hours=1000)
    await resume(heir)
    await heir.poller.control.check(heir.lease)
    clock.advance(hours=70)
    await heir.send()
    assert (await heir.states())["ada"] == "retrying"  # 71 hours of 72

    clock.advance(minutes=90)  # 72 and a half with the hour before the pause
    await heir.send()
    assert (await heir.states())["ada"] == "dead"
    assert (await heir.delivery("ada")).attempts[0].at == first
    await heir.die()


async def test_a_pause_during_an_outage_counts_once(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    crm.register("ada")
    inventory.fault = answers(401)  # opens the circuit at once
    await integration.work()
    circuit = integration.poller.targets.inventory.circuit
    clock.advance(hours=1)
    circuit.pause(is_paused=True)
    clock.advance(hours=1)
    circuit.pause(is_paused=False)
    clock.advance(hours=1)
    assert circuit.tried() == 0
    inventory.fault = None
    await integration.send()
    assert (await integration.states())["ada"] == "delivered"
    clock.advance(hours=1)
    assert circuit.tried() == timedelta(hours=1).total_seconds()


# --- the running poller


@pytest.fixture
async def alive(start: Start, crm: CrmDouble, inventory: InventoryDouble) -> AsyncIterator[Any]:
    """One that runs by itself, and looks once an hour."""
    integration = await start(polling_interval_seconds=3600, long_poll_seconds=20)
    await integration.poller.give_back(integration.lease)
    task = asyncio.create_task(integration.poller.run())

    async def has_looked() -> bool:
        return len(crm.looks) > 1

    crm.is_patient = False
    await seen(integration, has_looked)
    crm.is_patient = True
    yield integration
    integration.poller._stopping.begin()
    await task


async def test_whichever_replica_is_told_the_one_that_polls_looks_at_once(
    alive: Integration, settings: Settings, crm: CrmDouble
) -> None:
    looks = len(crm.looks)
    async with running(create_app(settings), token="admin123") as other:
        assert (await other.post("/poll")).status_code == 202

        async def has_looked() -> bool:
            return any("wait" not in look for look in crm.looks[looks:])

        await seen(alive, has_looked)
        looks = len(crm.looks)

        async def waits_again() -> bool:
            return any("wait" in look for look in crm.looks[looks:])

        await seen(alive, waits_again)  # and not after the hour between two looks


async def test_whoever_is_told_to_look_wakes_every_loop(integration: Integration) -> None:
    poller = integration.poller
    events = {
        "the feed": poller.feed_loops[0].woken,
        "deliveries": poller.ingest.work_ready,
        "erasures": poller.ingest.erased,
        "comparisons": poller.reconciler.wanted,
    }
    assert not any(event.is_set() for event in events.values())
    await integration.database.write(control.wake)

    await poller.control.check(integration.lease)

    assert [name for name, event in events.items() if not event.is_set()] == []


async def test_where_nobody_polls_nobody_can_be_told_to(
    integration: Integration, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever stands by must not take over before it is asked.
    monkeypatch.setattr(leases, "take", lambda *_, **__: None)
    await integration.database.write(
        change, "UPDATE poller SET lease_until = '2020-01-01 00:00:00.000000'"
    )

    async with running(create_app(settings), token="admin123") as api:
        answer = await api.post("/poll")

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:problem:not-polling"


@PAUSES
async def test_the_running_poller_heeds_a_pause_and_goes_on_at_once_after_it(
    pause: Callable[[Integration, datetime], Awaitable[None]],
    resume: Callable[[Integration], Awaitable[None]],
    alive: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    log: Log,
) -> None:
    await pause(alive, alive.clock())

    async def is_heeded() -> bool:
        return f"aused since {rfc3339(alive.clock())}" in "".join(log.warnings)

    await seen(alive, is_heeded)
    crm.register("ada")

    async def is_pending() -> bool:
        return await alive.states() == {"ada": "pending"}

    await seen(alive, is_pending)
    assert inventory.requests == []
    await resume(alive)

    async def is_delivered() -> bool:
        resumed = any(line.startswith("Resumed: deliveries ") for line in log.infos)
        return resumed and await alive.states() == {"ada": "delivered"}

    await seen(alive, is_delivered)


async def test_a_pause_that_comes_during_a_look_is_seen_by_the_next(
    integration: Integration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("integration_service.poller.control.CHECK_SECONDS", 3600)
    watcher, circuit = integration.poller.control, integration.poller.targets.inventory.circuit
    checked = watcher.check
    pauses = [integration.clock()]

    async def check(lease: Lease) -> None:
        await checked(lease)
        if pauses:
            await integration.database.write(control.pause, pauses.pop(), COMMAND_LINE)

    monkeypatch.setattr(watcher, "check", check)
    stopping = Stopping()
    task = asyncio.create_task(watcher.run(integration.lease, stopping))

    async def is_heeded() -> bool:
        return circuit.is_paused

    await seen(integration, is_heeded)
    stopping.begin()
    await task


async def test_a_wake_up_does_not_cut_a_poll_that_is_already_writing(
    integration: Integration, crm: CrmDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    poller, write = integration.poller, integration.database.write
    ends: list[str] = []

    async def write_slowly(work: Any, *args: Any, **options: Any) -> Any:
        if work is not feed_store.note_page or ends:
            return await write(work, *args, **options)
        poller.feed_loops[0].woken.set()
        try:
            for _ in range(50):  # many times what it takes the reading loop to wake and to cancel
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        ends.append("written")
        return await write(work, *args, **options)

    monkeypatch.setattr(integration.database, "write", write_slowly)
    crm.register("ada")
    reading = asyncio.create_task(poller.feed_loops[0].run(integration.lease, poller._stopping))

    async def is_known() -> bool:
        return await integration.states() == {"ada": "pending"}

    await seen(integration, is_known)
    poller._stopping.begin()
    await asyncio.wait_for(reading, 10)
    assert ends == ["written"]


# --- waiting for one


async def test_a_delivery_is_waited_for_from_before_it_is_known(
    integration: Integration, api: httpx.AsyncClient, crm: CrmDouble
) -> None:
    waiting = asyncio.create_task(api.get("/deliveries/ada/wait?timeout=30"))
    await asyncio.wait([waiting], timeout=0.05)
    assert not waiting.done()
    crm.register("ada")

    await integration.work()

    answer = await asyncio.wait_for(waiting, 10)
    assert answer.status_code == 200
    assert (answer.json()["state"], len(answer.json()["attempts"])) == ("delivered", 1)
    again = await api.get("/deliveries/ada/wait")
    assert again.json() == answer.json()


async def test_what_is_finished_during_a_look_is_seen_by_the_next(
    integration: Integration, settings: Settings, crm: CrmDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router, "RECHECK_SECONDS", 3600)
    crm.register("ada")
    await integration.poll()
    finish = ["UPDATE deliveries SET state = 'skipped', next_attempt_at = NULL"]
    seldom = settings.model_copy(update={"lease_seconds": 300})  # it asks for a lease, and commits
    async with running(create_app(seldom), token="admin123") as api:
        database: Database = api.app.state.database  # type: ignore[attr-defined]
        read = database.read

        async def look(work: Any, *args: Any) -> Any:
            found = await read(work, *args)
            if work is store.find and finish:
                await database.write(change, finish.pop())
            return found

        monkeypatch.setattr(database, "read", look)
        answer = await asyncio.wait_for(api.get("/deliveries/ada/wait?timeout=60"), 10)

    assert answer.json()["state"] == "skipped"


async def test_a_dead_or_skipped_one_is_finished_too(
    integration: Integration, api: httpx.AsyncClient, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    await die(integration, crm, inventory)
    assert (await api.get("/deliveries/ada/wait")).json()["state"] == "dead"
    await integration.database.write(change, "UPDATE deliveries SET state = 'skipped'")
    assert (await api.get("/deliveries/ada/wait")).json()["state"] == "skipped"


async def test_who_waits_in_vain_is_told_so(
    integration: Integration, api: httpx.AsyncClient, crm: CrmDouble
) -> None:
    crm.register("ada")
    await integration.poll()

    for uid, state in (("ada", "pending"), ("nobody", None)):
        answer = await api.get(f"/deliveries/{uid}/wait?timeout=0")
        assert answer.status_code == 504
        assert answer.json()["type"] == "urn:problem:delivery-unfinished"
        assert answer.json()["state"] == state
    for timeout in (-1, 61, "x"):
        answer = await api.get(f"/deliveries/ada/wait?timeout={timeout}")
        assert answer.status_code == 422


async def test_who_waits_takes_the_place_of_nobody_who_works(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(api.app.state.capacity.waiting, "most", 0)

    answer = await api.get("/deliveries/nobody/wait?timeout=0")

    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:problem:overloaded"
    assert (await api.get("/deliveries")).status_code == 200


async def test_a_stop_ends_the_waiting_at_once(
    integration: Integration, settings: Settings, crm: CrmDouble
) -> None:
    app = create_app(settings)
    async with running(app, token="admin123") as api:
        waiting = asyncio.create_task(api.get("/deliveries/ada/wait?timeout=60"))
        await asyncio.wait([waiting], timeout=0.05)
        app.state.stopping.begin()
        answer = await asyncio.wait_for(waiting, 10)

    assert answer.status_code == 503
