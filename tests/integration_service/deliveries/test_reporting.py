"""Events reach webhooks at least once, in the order that is asked for, and nothing is given up."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from sqlalchemy import Connection

from integration_service.deliveries import erasures, reporting, service, store
from integration_service.deliveries.models import Delivery, deliveries
from integration_service.deliveries.replay import replay
from integration_service.deliveries.reporting import Reporting
from integration_service.deliveries.schemas import ReplayOrder
from integration_service.ledger import control
from integration_service.ledger.lease import LeaseLost
from integration_service.targets.failures import Gone
from integration_service.targets.webhook import webhook_id
from service_kit.database import DatabaseUnavailable
from service_kit.web.auth import COMMAND_LINE
from tests.integration_service.conftest import Integration, Log, Start, change
from tests.integration_service.doubles import CrmDouble, InventoryDouble, erased
from tests.integration_service.fragile import FragileDatabase, away
from tests.integration_service.webhooks import (
    DESK,
    WELCOME,
    ReceiverDouble,
    of_routes,
    ticket,
    webhook,
)
from tests.statements import statements


async def rows(integration: Integration, **which: str) -> list[Delivery]:
    found = await integration.database.read(store.page, store.Filter(**which), None, 10_000)
    return list(found.rows)


async def states(integration: Integration) -> list[str]:
    return [row.state for row in await rows(integration)]


async def claimed(integration: Integration) -> int:
    """Count what this or another poller has taken to send."""

    def work(db: Connection) -> int:
        which = deliveries.c.claimed_epoch.is_not(None)
        return service.matching(db, which)

    return await integration.database.read(work)


async def all_arrived(reporting: Reporting) -> None:
    """Wait until what is under way is sent; it is not written down yet."""
    while reporting._under_way:
        await asyncio.wait(reporting._under_way)


@pytest.fixture
async def integration(start: Start, tmp_path: Path, shop: ReceiverDouble) -> Integration:
    return await start(**of_routes(tmp_path, webhook()))


@pytest.fixture
async def in_order(start: Start, tmp_path: Path, shop: ReceiverDouble) -> Integration:
    return await start(**of_routes(tmp_path, webhook(order='"subject"')))


async def test_each_event_is_sent_with_an_identity_of_its_route(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    crm.register("ada")
    crm.publish(ticket("t1", 2))

    await integration.listen()
    await integration.report()

    assert sorted(shop.ids) == sorted(webhook_id("shop", one["id"]) for one in crm.events)
    [first, _] = await rows(integration)
    assert (first.state, first.request_id) == ("delivered", webhook_id("shop", first.subject))
    assert (first.event_type, first.event_subject) == ("customer.created", "ada")


async def test_a_retry_and_a_replay_have_the_same_identity(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    crm.register("ada")
    shop.faults.append(httpx.Response(503))
    await integration.listen()
    await integration.report()
    integration.clock.advance(minutes=6)
    await integration.report()
    order = ReplayOrder.model_validate({"route": "shop", "from": 1, "to": 1})

    assert (
        await replay(integration.database, integration.clock, order, COMMAND_LINE)
    ).replayed == 1
    await integration.report()

    assert shop.ids == [shop.ids[0]] * 2
    assert {one.headers["webhook-id"] for one in shop.requests} == {shop.ids[0]}


async def test_an_event_whose_customer_was_erased_since_is_sent_without_its_data(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    crm.register("ada")
    await integration.listen()
    integration.poller.subscriptions.recent._kept.clear()
    crm.forget("ada")

    await integration.report()

    assert shop.accepted[0]["data"]["name"] == ""


async def test_an_event_that_is_gone_from_the_feed_is_dead_and_listed(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    crm.register("ada", "bob")
    await integration.listen()
    integration.poller.subscriptions.recent._kept.clear()
    crm.pruned = 1

    await integration.report()

    assert await states(integration) == ["dead", "delivered"]
    [dead, _] = await rows(integration)
    assert dead.error == "its event is no longer in the feed"


async def test_one_that_is_another_event_now_is_not_sent(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    crm.register("ada")
    await integration.listen()
    integration.poller.subscriptions.recent._kept.clear()
    crm.events[0] = {**crm.events[0], "id": "another"}

    await integration.report()

    assert (await states(integration), shop.accepted) == (["dead"], [])


async def test_while_the_crm_cannot_be_asked_nothing_is_counted(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm.register("ada")
    await integration.listen()
    integration.poller.subscriptions.recent._kept.clear()
    monkeypatch.setattr(CrmDouble, "look_up", None)
    [shop_reporting] = integration.poller.reporting
    find = shop_reporting._find_event

    async def away(position: int, event_id: str, through: int) -> None:
        raise reporting.Transient("the CRM is away")

    shop_reporting._find_event = away
    await integration.report()

    [row] = await rows(integration)
    assert (row.state, row.attempt_count) == ("pending", 0)
    assert await claimed(integration) == 0
    assert (await integration.status()).circuits["webhook:shop"].state == "closed"
    shop_reporting._find_event = find
    shop_reporting._crm_away_until = 0.0
    monkeypatch.undo()


async def test_a_receiver_that_fails_opens_its_circuit_and_is_probed_with_one(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble, log: Log
) -> None:
    crm.register(*(f"c{number}" for number in range(12)))
    await integration.listen()
    shop.fault = lambda _: httpx.Response(500)

    await integration.report()

    assert (await integration.status()).circuits["webhook:shop"].state == "open"
    before = len(shop.requests)
    held = await rows(integration, held_because="circuit")
    assert len(held) == 12
    integration.clock.advance(seconds=6)
    await integration.report()
    assert len(shop.requests) == before + 1

    shop.fault = None
    integration.clock.advance(seconds=61)
    await integration.report()

    assert sorted(shop.sequences) == list(range(1, 13))
    assert set(await states(integration)) == {"delivered"}
    assert "Webhook shop answers again" in " ".join(log.infos)


async def test_one_event_that_the_receiver_never_takes_is_dead_after_three_days_of_trying(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    crm.register("ada", "bob")
    await integration.listen()
    shop.fault = lambda event: httpx.Response(422) if event["subject"] == "ada" else None

    for hour in range(80):
        await integration.report()
        integration.clock.advance(hours=1)
        crm.publish(ticket(f"t{hour}", len(crm.events) + 1))
        await integration.listen()

    [ada, *others] = await rows(integration)
    assert (ada.state, ada.error_class) == ("dead", "transient")
    assert {row.state for row in others[:-1]} == {"delivered"}
    shop.fault = None
    await integration.database.write(
        service.retry, ada.subject, integration.clock(), COMMAND_LINE, "shop"
    )
    await integration.report()
    assert "ada" in [event["subject"] for event in shop.accepted]


async def test_410_pauses_the_route_and_skips_nothing(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble, log: Log
) -> None:
    crm.register("ada", "bob")
    await integration.listen()
    shop.fault = lambda _: httpx.Response(410)

    await integration.report()
    await integration.poller.control.check(integration.lease)
    shop.fault = None
    await integration.report()

    assert shop.accepted == []
    assert await rows(integration, held_because="paused") == await rows(integration)
    assert any("gone (410)" in line for line in log.errors)
    await integration.database.write(control.resume_route, "shop", COMMAND_LINE)
    await integration.poller.control.check(integration.lease)
    integration.clock.advance(minutes=6)
    await integration.report()
    assert sorted(shop.sequences) == [1, 2]


async def test_a_410_that_comes_while_others_are_written_down_pauses_the_route(
    integration: Integration,
    crm: CrmDouble,
    shop: ReceiverDouble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crm.register("ada")
    await integration.listen()
    [shop_reporting] = integration.poller.reporting
    write, late = integration.database.write, [Gone("it answered 410", status=410)]

    async def write_slowly(work: Any, *args: Any, **options: Any) -> Any:
        done = await write(work, *args, **options)
        if shop_reporting._settled and late:
            shop_reporting._gone = late.pop()
        return done

    monkeypatch.setattr(integration.database, "write", write_slowly)
    await integration.report()
    crm.register("bob")
    await integration.listen()
    await integration.report()

    assert late == []
    assert await integration.database.read(control.paused_routes)


async def test_what_was_claimed_when_a_pause_came_is_given_back(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path, far_sides: respx.MockRouter
) -> None:
    integration = await start(
        **of_routes(tmp_path, webhook("desk", url=DESK)), delivery_concurrency=2
    )
    crm.register("ada", "bob", "cyd", "dan", "eve")
    await integration.listen()
    [reporting] = integration.poller.reporting
    arrived, may_answer = [], asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        arrived.append(request)
        await may_answer.wait()
        return httpx.Response(204)

    far_sides.post(DESK).mock(side_effect=answer)
    await reporting.begin(integration.lease)
    await reporting.step(integration.lease)
    assert await claimed(integration) == 5

    await integration.database.write(control.pause_route, "desk", integration.clock(), COMMAND_LINE)
    await integration.poller.control.check(integration.lease)
    may_answer.set()
    await all_arrived(reporting)
    await reporting.step(integration.lease)

    assert (len(arrived), await claimed(integration)) == (2, 0)
    assert (await states(integration)).count("delivered") == 2


async def test_a_pause_is_named_before_a_circuit_that_is_open(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    crm.register(*(f"c{number}" for number in range(6)))
    await integration.listen()
    shop.fault = lambda _: httpx.Response(500)
    await integration.report()
    assert len(await rows(integration, held_because="circuit")) == 6

    await integration.database.write(control.pause_route, "shop", integration.clock(), COMMAND_LINE)

    assert len(await rows(integration, held_because="paused")) == 6


async def test_as_many_are_under_way_as_there_are_places(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path, far_sides: respx.MockRouter
) -> None:
    integration = await start(
        **of_routes(tmp_path, webhook("desk", url=DESK)), delivery_concurrency=2
    )
    crm.register(*(f"c{number}" for number in range(9)))
    await integration.listen()
    numbers, arrived = [], 0

    async def answer(_request: httpx.Request) -> httpx.Response:
        nonlocal arrived
        arrived += 1
        numbers.append(arrived)
        await asyncio.sleep(0)  # whoever else is under way arrives meanwhile
        arrived -= 1
        return httpx.Response(204)

    far_sides.post(DESK).mock(side_effect=answer)
    await integration.report()

    assert (len(numbers), max(numbers)) == (9, 2)


async def test_what_could_not_be_written_down_is_written_down_later(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    crm.register("ada", "bob")
    await integration.listen()
    [reporting] = integration.poller.reporting
    fragile = FragileDatabase(integration.database)
    reporting._database = fragile

    await reporting.begin(integration.lease)
    await reporting.step(integration.lease)
    await all_arrived(reporting)
    fragile.before.append(away())
    with pytest.raises(DatabaseUnavailable):
        await reporting.step(integration.lease)
    assert await states(integration) == ["pending", "pending"]
    await integration.report()

    fragile.check()
    assert await states(integration) == ["delivered", "delivered"]
    assert sorted(shop.sequences) == [1, 2]


async def test_a_redirect_is_not_followed_and_stops_the_route(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    crm.register("ada")
    await integration.listen()
    shop.fault = lambda _: httpx.Response(307, headers={"Location": "http://127.0.0.1:9/other"})

    await integration.report()

    [row] = await rows(integration)
    assert (row.state, row.attempt_count) == ("pending", 0)
    circuit = (await integration.status()).circuits["webhook:shop"]
    assert (circuit.state, circuit.error_class) == ("open", "configuration")


async def test_in_order_the_events_of_a_subject_follow_one_another(
    in_order: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    for number in range(1, 31):
        crm.publish(ticket(f"t{number % 3}", number))
    await in_order.listen()
    failing = iter([httpx.Response(503)] * 8)
    shop.fault = lambda event: next(failing, None) if event["subject"] == "t1" else None

    for _ in range(20):
        await in_order.report()
        in_order.clock.advance(minutes=6)

    assert sorted(shop.sequences) == list(range(1, 31))
    for subject in ("t0", "t1", "t2"):
        of_subject = [int(one["sequence"]) for one in shop.accepted if one["subject"] == subject]
        assert of_subject == sorted(of_subject)


async def test_in_order_nothing_waits_for_a_clock_that_was_set_back(
    in_order: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    """What has come since is due, and held by what seems to be due in an hour only."""
    crm.publish(ticket("t1", 1))
    await in_order.listen()
    in_order.clock.jump(hours=-1)
    crm.publish(ticket("t1", 2))
    await in_order.listen()

    await in_order.report()

    assert shop.sequences == [1, 2]


async def test_in_order_one_route_does_not_wait_for_another(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path, far_sides: respx.MockRouter
) -> None:
    desk = ReceiverDouble()
    far_sides.post(DESK).mock(side_effect=desk)
    order = '"subject"'
    routes = of_routes(tmp_path, webhook(order=order), webhook("desk", url=DESK, order=order))
    integration = await start(**routes)
    for number in (1, 2):
        crm.publish(ticket("t1", number))
    await integration.listen()
    shop.fault = lambda _: httpx.Response(422)

    await integration.report()

    assert (shop.sequences, desk.sequences) == ([], [1, 2])


async def test_a_dead_event_holds_its_successors_until_it_is_dismissed(
    in_order: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    for number, subject in enumerate(["t1", "t2", "t1"], 1):
        crm.publish(ticket(subject, number))
    await in_order.listen()
    await in_order.database.write(
        change,
        "UPDATE deliveries SET state = 'dead', next_attempt_at = NULL, error_class = 'transient'"
        " WHERE sequence = 1",
    )

    await in_order.report()

    assert shop.sequences == [2]
    [held] = await rows(in_order, held_because="order")
    assert (held.sequence, held.held_because) == (3, "order")
    [dead] = await rows(in_order, state="dead")
    now = in_order.clock()
    await in_order.database.write(
        service.dismiss, dead.subject, "Known.", now, COMMAND_LINE, "shop"
    )
    await in_order.report()
    assert shop.sequences == [2, 3]


async def test_a_replay_goes_before_what_is_newer(
    in_order: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    for number in (1, 2):
        crm.publish(ticket("t1", number))
    await in_order.listen()
    await in_order.report()
    crm.publish(ticket("t1", 3))
    await in_order.listen()
    order = ReplayOrder.model_validate({"route": "shop", "from": 1, "to": 2})

    await replay(in_order.database, in_order.clock, order, COMMAND_LINE)
    await in_order.report()

    assert shop.sequences == [1, 2, 1, 2, 3]


async def test_a_dry_run_of_a_replay_changes_nothing(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    crm.register("ada", "bob", "cyd")
    await integration.listen()
    await integration.report()
    order = ReplayOrder.model_validate({"route": "shop", "from": 2, "to": 9, "dry_run": True})

    done = await replay(integration.database, integration.clock, order, COMMAND_LINE)
    await integration.report()

    assert (done.replayed, len(shop.accepted)) == (2, 3)


async def test_after_a_crash_what_was_under_way_is_sent_again_with_its_identity(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    crm.register("ada")
    await integration.listen()

    async def cut(*_: object) -> None:
        raise asyncio.CancelledError

    [shop_reporting] = integration.poller.reporting
    await shop_reporting.step(integration.lease)
    await all_arrived(shop_reporting)
    assert len(shop.ids) == 1
    shop_reporting._settle = cut  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await shop_reporting.step(integration.lease)
    shop_reporting._settle = type(shop_reporting)._settle.__get__(shop_reporting)
    await integration.report()
    ids = list(shop.ids)

    again = await integration.restarted()
    await again.report()

    assert len(set(shop.ids)) == 1
    assert len(shop.ids) >= len(ids)
    assert await states(again) == ["delivered"]
    await again.die()


async def test_what_was_sent_under_a_lost_lease_is_written_down_under_no_later_one(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    """Another poller has sent it since; a failure from before would make it wait for ever."""
    crm.register("ada")
    await integration.listen()
    [reporting] = integration.poller.reporting
    shop.faults.append(httpx.Response(500))
    await reporting.begin(integration.lease)
    await reporting.step(integration.lease)
    await all_arrived(reporting)
    await integration.database.write(
        change,
        "UPDATE deliveries SET state = 'delivered', next_attempt_at = NULL, claimed_epoch = NULL",
        "UPDATE poller SET lease_epoch = lease_epoch + 2",
    )

    await reporting.begin(replace(integration.lease, epoch=integration.lease.epoch + 2))

    assert await states(integration) == ["delivered"]


async def test_a_poller_that_lost_its_lease_writes_nothing_down(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    crm.register("ada")
    await integration.listen()
    [shop_reporting] = integration.poller.reporting
    await shop_reporting.step(integration.lease)
    await integration.database.write(change, "UPDATE poller SET lease_epoch = lease_epoch + 1")

    with pytest.raises(LeaseLost):
        await integration.report()

    assert await states(integration) == ["pending"]


async def test_a_route_that_is_mute_delays_no_other(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path, far_sides: object
) -> None:
    routes = of_routes(tmp_path, webhook("shop"), webhook("desk", url=DESK))
    integration = await start(**routes)
    far_sides.post(DESK).mock(side_effect=httpx.ReadTimeout("mute"))  # type: ignore[attr-defined]
    crm.register("ada")
    await integration.listen()

    await integration.report()

    by_route = {row.route: row.state for row in await rows(integration)}
    assert by_route == {"shop": "delivered", "desk": "retrying"}


async def test_what_a_removed_route_owed_is_skipped_and_stays_readable(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> None:
    crm.register("ada", "bob")
    await integration.listen()
    dead = "UPDATE deliveries SET state = 'dead', next_attempt_at = NULL WHERE sequence = 2"
    await integration.database.write(change, dead)

    without = await integration.restarted(routes_file=None)

    found = [(row.state, row.skip_reason) for row in await rows(without, route="shop")]
    assert found == [("skipped", "route-removed"), ("dead", None)]
    await without.die()


async def test_an_erasure_is_an_event_as_any_other(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    crm.register("ada")
    crm.publish(erased("ada", 2))

    await integration.listen()
    await integration.report()

    assert sorted(shop.sequences) == [1, 2]


async def test_retry_after_is_waited_for(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    crm.register("ada")
    shop.faults.append(httpx.Response(429, headers={"Retry-After": "600"}))
    await integration.listen()

    await integration.report()

    [row] = await rows(integration)
    assert row.next_attempt_at is not None
    assert row.next_attempt_at - integration.clock() >= timedelta(seconds=600)


ANSWER = "no: jane@example.org is unknown here"
FILES = {
    "webhooks alone": (webhook(on='["customer.created", "ticket.*"]'),),
    "with packages": (WELCOME, webhook(on='["customer.created", "ticket.*"]')),
    "and one that hears of it": (webhook(), webhook("desk", url=DESK, on='["ticket.*"]')),
}


@pytest.mark.parametrize("routes", FILES.values(), ids=FILES)
async def test_what_was_answered_about_a_customer_is_forgotten_when_that_is_erased(
    start: Start,
    crm: CrmDouble,
    inventory: InventoryDouble,
    shop: ReceiverDouble,
    tmp_path: Path,
    routes: tuple[str, ...],
) -> None:
    integration = await start(**of_routes(tmp_path, *routes))
    crm.register("ada", "bob", "cid")
    await integration.listen()
    shop.fault = lambda _: httpx.Response(422, text=ANSWER)
    await integration.report()
    dead = (
        "UPDATE deliveries SET state = 'dead', next_attempt_at = NULL WHERE event_subject = 'bob'"
    )
    await integration.database.write(change, dead)

    crm.publish(erased("ada", 4))
    crm.publish(erased("bob", 5))
    await integration.listen()
    if len(routes) == 2:
        await integration.work()

    about = [row for row in await rows(integration, route="shop") if row.sequence < 4]
    kept = {row.event_subject: (row.problem or {}).get("detail") for row in about}
    assert kept == {"ada": None, "bob": None, "cid": "no: [e-mail] is unknown here"}
    assert {row.error for row in about} == {"it answered 422"}


@pytest.mark.engine("sqlite")
async def test_such_answers_are_found_by_their_index(
    integration: Integration, crm: CrmDouble
) -> None:
    def plan(db: Connection) -> list[str]:
        with statements() as sent:
            erasures.forget_answers(db, ["ada", "bob"])
        [statement] = [one for one in sent if one.startswith("UPDATE")]
        found = db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", ("shop", "ada", "bob"))
        return [row.detail for row in found]

    assert "ix_deliveries_order" in " ".join(await integration.database.write(plan))
