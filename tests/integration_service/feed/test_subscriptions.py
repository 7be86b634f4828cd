"""Routes to webhooks read the feed each from its own place, and miss nothing."""

from pathlib import Path

import httpx
import pytest

from integration_service.deliveries import store
from integration_service.deliveries.models import Delivery
from integration_service.feed import high_mark, places
from integration_service.ledger import control
from integration_service.ledger.lease import LeaseLost
from integration_service.ledger.models import RouteState
from service_kit.web.auth import COMMAND_LINE
from tests.integration_service.conftest import Integration, Log, Start, change
from tests.integration_service.doubles import CrmDouble, InventoryDouble, erased
from tests.integration_service.webhooks import WELCOME, ReceiverDouble, of_routes, ticket, webhook


async def place(integration: Integration, name: str = "shop") -> RouteState:
    return (await integration.database.read(places.states))[name]


async def owed(integration: Integration) -> list[tuple[str, int]]:
    """Return what is in the ledger, by its route and position."""
    return [(row.route, row.sequence) for row in await all_rows(integration)]


async def all_rows(integration: Integration) -> list[Delivery]:
    return list((await integration.database.read(store.page, store.Filter(), None, 10_000)).rows)


async def test_each_route_is_owed_the_events_of_its_own_types(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> None:
    routes = of_routes(
        tmp_path,
        webhook("shop", on='["customer.created"]'),
        webhook("desk", on='["ticket.*"]'),
        webhook("all", unless='{ "data.subject" = "Parcel" }'),
    )
    integration = await start(**routes)
    crm.register("ada")
    crm.publish(ticket("t1", 2))
    crm.publish(erased("ada", 3))

    await integration.listen()

    assert sorted(await owed(integration)) == [("all", 1), ("all", 3), ("desk", 2), ("shop", 1)]
    assert [(await place(integration, name)).position for name in ("shop", "desk", "all")] == [
        3
    ] * 3
    assert {row.state for row in await all_rows(integration)} == {"pending"}
    # All three stood at one place, so each page was read once.
    assert len(crm.looks) == 1


async def test_an_event_is_owed_once_however_often_its_page_is_read(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> None:
    integration = await start(**of_routes(tmp_path, webhook()))
    crm.register("ada", "bob")
    await integration.listen()
    await integration.database.write(control.pause_route, "shop", integration.clock(), COMMAND_LINE)
    await integration.database.write(
        change, "UPDATE routes SET cursor = NULL, position = 0 WHERE name = 'shop'"
    )
    await integration.listen()

    assert await owed(integration) == [("shop", 1), ("shop", 2)]


@pytest.mark.parametrize(
    ("start_from", "found"), [('"beginning"', [1, 2, 3, 4]), ('"now"', [4]), ("0", [1, 2, 3, 4])]
)
async def test_a_new_route_starts_where_its_file_says(
    start: Start,
    crm: CrmDouble,
    shop: ReceiverDouble,
    tmp_path: Path,
    start_from: str,
    found: list[int],
) -> None:
    crm.register("ada", "bob", "cyd")
    integration = await start(**of_routes(tmp_path, webhook(start_from=start_from)))
    await integration.listen()
    crm.register("dan")
    await integration.listen()

    assert [sequence for _, sequence in await owed(integration)] == found
    # Used once: later starts go on from the place in the ledger.
    again = await integration.restarted(**of_routes(tmp_path, webhook(start_from='"now"')))
    crm.register("eve")
    await again.listen()
    assert [sequence for _, sequence in await owed(again)] == [*found, 5]
    await again.die()


async def test_new_routes_begin_each_where_its_file_says(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> None:
    crm.register("ada", "bob")
    routes = of_routes(tmp_path, webhook("desk", start_from='"now"'), webhook())
    integration = await start(**routes)
    await integration.listen()
    crm.register("cyd")

    await integration.listen()

    assert await owed(integration) == [("shop", 1), ("shop", 2), ("desk", 3), ("shop", 3)]


async def test_while_routes_stand_apart_none_waits_for_news(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> None:
    crm.is_patient = False
    integration = await start(**of_routes(tmp_path, webhook(), webhook("desk")))
    crm.register("ada", "bob")
    await integration.listen()
    back = "UPDATE routes SET cursor = 'a-1', position = 1 WHERE name = 'desk'"
    await integration.database.write(change, back)
    crm.requests.clear()

    await integration.poller.subscriptions.poll(integration.lease, wait=25)
    assert [look.get("wait") for look in crm.looks] == [None, None]

    # Both stand at the end of the feed now.
    await integration.poller.subscriptions.poll(integration.lease, wait=25)
    assert [look.get("wait") for look in crm.looks[2:]] == ["25"]


@pytest.mark.parametrize(
    "moved",
    ["UPDATE routes SET cursor = 'a-2', position = 2", "UPDATE routes SET feed_state = 'gap'"],
)
async def test_a_page_that_was_read_from_elsewhere_is_void(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path, moved: str
) -> None:
    integration = await start(**of_routes(tmp_path, webhook()))
    crm.register("ada", "bob")

    async def move(_double: object, _request: httpx.Request) -> None:
        await integration.database.write(change, moved)

    crm.faults.append(move)
    with pytest.raises(LeaseLost):
        await integration.listen()

    assert await owed(integration) == []


async def test_a_route_starts_behind_a_position_once_the_feed_is_there(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> None:
    integration = await start(**of_routes(tmp_path, webhook(start_from="2")))
    crm.register("ada")
    crm.number()
    assert await integration.poller.subscriptions.poll(integration.lease, wait=0) > 0
    assert await owed(integration) == []

    crm.register("bob", "cyd")
    crm.number()
    await integration.listen()

    assert await owed(integration) == [("shop", 3)]


async def test_from_the_beginning_means_from_the_oldest_event_left(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> None:
    crm.register("ada", "bob", "cyd")
    crm.number()
    crm.pruned = 2
    integration = await start(**of_routes(tmp_path, webhook()))

    await integration.listen()

    assert await owed(integration) == [("shop", 3)]


@pytest.mark.parametrize("broken", ["expired", "diverged"])
async def test_a_gap_stops_one_route_until_somebody_accepts_it(
    start: Start,
    crm: CrmDouble,
    shop: ReceiverDouble,
    tmp_path: Path,
    log: Log,
    broken: str,
) -> None:
    integration = await start(**of_routes(tmp_path, webhook()))
    crm.register("ada")
    await integration.listen()
    crm.register("bob", "cyd")
    crm.number()
    if broken == "expired":
        crm.pruned = 2
    else:
        crm.epoch = "another"

    await integration.listen()
    await integration.listen()

    assert (await place(integration)).feed_state == "gap"
    assert await owed(integration) == [("shop", 1)]
    assert len(log.errors) == 1
    assert "accept_gap" in log.errors[0]
    await integration.database.write(control.accept_gap, "shop", "oldest", COMMAND_LINE)
    await integration.listen()
    left = [3] if broken == "expired" else [2, 3]
    assert await owed(integration) == [("shop", 1), *(("shop", n) for n in left)]
    assert (await place(integration)).feed_state == "running"


async def test_after_a_gap_a_route_may_go_on_with_what_is_new(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> None:
    integration = await start(**of_routes(tmp_path, webhook()))
    await integration.listen()
    crm.epoch = "another"
    crm.register("ada")
    await integration.listen()

    await integration.database.write(control.accept_gap, "shop", "newest", COMMAND_LINE)
    await integration.listen()
    crm.register("bob")
    await integration.listen()

    assert await owed(integration) == [("shop", 2)]


async def test_a_full_route_stays_where_it_is_and_the_others_go_on(
    start: Start,
    crm: CrmDouble,
    shop: ReceiverDouble,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(high_mark, "HIGH_MARK", 2)
    routes = of_routes(
        tmp_path, webhook("shop", on='["customer.created"]'), webhook("desk", on='["ticket.*"]')
    )
    integration = await start(**routes, batch_size=1)
    crm.register("a", "b", "c", "d", "e")
    crm.publish(ticket("t1", 6))

    for _ in range(12):
        await integration.poller.subscriptions.poll(integration.lease, wait=0)

    assert [name for name, _ in await owed(integration)].count("shop") == 3
    assert ("desk", 6) in await owed(integration)
    assert (await place(integration, "desk")).position == 6
    await integration.report()
    await integration.listen()
    assert [name for name, _ in await owed(integration)].count("shop") == 5


async def test_what_cannot_be_read_is_kept_as_dead(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> None:
    integration = await start(**of_routes(tmp_path, webhook()))
    crm.publish({**ticket("t1", 1), "id": 7})
    crm.publish({"subject": "t2", "nonsense": True})
    crm.publish(ticket("t3", 3))

    await integration.listen()
    await integration.report()

    states = [(row.state, row.error_class) for row in await all_rows(integration)]
    assert states == [("dead", "unreadable"), ("dead", "unreadable"), ("delivered", None)]


async def test_while_the_crm_is_away_nothing_is_lost(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> None:
    integration = await start(**of_routes(tmp_path, webhook()))
    await integration.listen()
    crm.register("ada")
    crm.faults.append(lambda *_: httpx.Response(503))

    assert await integration.poller.subscriptions.poll(integration.lease, wait=0) > 0

    assert (await integration.status()).circuits["crm"].state == "open"
    await integration.listen()
    assert await owed(integration) == [("shop", 1)]
    assert (await integration.status()).circuits["crm"].state == "closed"


async def test_packages_and_webhooks_read_the_same_feed_each_by_itself(
    start: Start,
    crm: CrmDouble,
    inventory: InventoryDouble,
    shop: ReceiverDouble,
    tmp_path: Path,
) -> None:
    integration = await start(**of_routes(tmp_path, WELCOME, webhook()))
    crm.register("ada")

    await integration.work()
    await integration.listen()
    await integration.report()

    assert inventory.owners == ["ada"]
    assert shop.sequences == [1]
    rows = {(row.route, row.state) for row in await all_rows(integration)}
    assert rows == {("welcome-package", "delivered"), ("shop", "delivered")}


async def test_the_crm_keeps_what_webhooks_still_need(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> None:
    integration = await start(**of_routes(tmp_path, webhook(), webhook("desk", on='["ticket.*"]')))
    crm.register("ada", "bob")
    await integration.listen()
    shop.fault = lambda event: httpx.Response(503) if event["subject"] == "bob" else None
    await integration.report()

    assert await integration.poller.announcing.announce()

    assert crm.readers == {"integration": 1}
    shop.fault = None
    integration.clock.advance(minutes=6)
    await integration.report()
    await integration.poller.announcing.announce()
    assert crm.readers == {"integration": 2}
