"""The comparison of webhooks' deliveries with the feed: what is missing, and no false alarm."""

from collections.abc import Callable
from pathlib import Path

import pytest

from integration_service.deliveries import store
from integration_service.deliveries.models import OwedEvent
from integration_service.feed import past, places
from integration_service.ledger import control
from integration_service.reconcile import store as reconciliations
from integration_service.reconcile.webhooks import EventComparison, Found, RouteNotRead
from integration_service.routes.definitions import WebhookRoute
from integration_service.targets.failures import Transient
from service_kit.web.auth import COMMAND_LINE
from tests.integration_service.conftest import Integration, Start, change
from tests.integration_service.doubles import CrmDouble, erased
from tests.integration_service.webhooks import ReceiverDouble, of_routes, ticket, webhook

DELETED = "DELETE FROM deliveries WHERE sequence IN (2, 4)"


@pytest.fixture
async def integration(start: Start, tmp_path: Path, shop: ReceiverDouble) -> Integration:
    return await start(**of_routes(tmp_path, webhook()))


async def compared(
    integration: Integration, *, repair: bool = False, publish: Callable[[OwedEvent], None] = print
) -> Found:
    [route] = integration.settings.read_routes()
    assert isinstance(route, WebhookRoute)
    crm = integration.poller.crm
    comparison = EventComparison(integration.database, crm, route, integration.clock)
    comparison.publish = publish
    return await comparison.carry_out(COMMAND_LINE, repair=repair)


async def lose(integration: Integration, statement: str = DELETED) -> None:
    """Be a ledger of which somebody has deleted rows by hand."""
    attempts = "DELETE FROM attempts"
    await integration.database.write(change, attempts, statement)


async def test_every_event_has_a_delivery_in_whichever_state(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    crm.register("ada", "bob", "cid")
    await integration.listen()
    await integration.report()
    crm.register("dan")
    await integration.listen()
    dead = "UPDATE deliveries SET state = 'dead' WHERE sequence = 1"
    skipped = (
        "UPDATE deliveries SET state = 'skipped', skip_reason = 'dismissed' WHERE sequence = 2"
    )
    await integration.database.write(change, dead, skipped)

    assert await compared(integration) == Found("shop", through_position=4, events=4)


async def test_what_is_missing_is_named_and_repair_sends_it_once(
    integration: Integration,
    crm: CrmDouble,
    shop: ReceiverDouble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(past, "PAGE", 2)
    crm.register("ada", "bob", "cid", "dan", "eve")
    await integration.listen()
    await integration.report()
    sent = dict(zip(shop.sequences, shop.ids, strict=True))
    await lose(integration)
    named: list[OwedEvent] = []

    looked = await compared(integration, publish=named.append)
    await integration.report()
    assert sorted(shop.sequences) == [1, 2, 3, 4, 5]
    repaired = await compared(integration, repair=True)
    await integration.report()
    again = await compared(integration, repair=True)

    assert [(one.sequence, one.event_subject) for one in named] == [(2, "bob"), (4, "dan")]
    assert (looked.events, looked.missing, looked.repaired) == (5, 2, 0)
    assert (repaired.missing, repaired.repaired) == (2, 2)
    assert (again.missing, again.repaired) == (0, 0)
    assert sorted(shop.sequences[5:]) == [2, 4]
    # The receiver knows them by the same ids as before.
    assert set(shop.ids[5:]) == {sent[2], sent[4]}


async def test_what_the_route_has_not_read_yet_is_not_missing(
    integration: Integration, crm: CrmDouble
) -> None:
    crm.register("ada")
    await integration.listen()
    crm.register("bob")

    assert await compared(integration) == Found("shop", through_position=1, events=1)


async def test_events_that_the_route_does_not_ask_for_are_not_missing(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> None:
    asks = webhook(on='["customer.*"]', unless='{ "data.name" = "Bob" }')
    integration = await start(**of_routes(tmp_path, asks))
    crm.register("ada")
    crm.publish(ticket("t1", 2))
    await integration.listen()

    assert await compared(integration) == Found("shop", through_position=2, events=1)


async def test_blanked_events_of_an_erased_customer_are_not_judged(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> None:
    crm.register("ada")
    name = crm.events[0]["data"]["name"]
    asks = webhook(unless=f'{{ "data.name" = "{name}" }}')
    integration = await start(**of_routes(tmp_path, asks))
    crm.publish(erased("ada", 2))
    await integration.listen()
    crm.forget("ada")

    # Only customer.erased was owed, and is looked for.
    assert await compared(integration) == Found("shop", through_position=2, events=1)
    await lose(integration)
    assert (await compared(integration, repair=True)).repaired == 1


@pytest.mark.parametrize("start_from", ['"now"', "2"])
async def test_events_from_before_the_start_are_not_missing(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path, start_from: str
) -> None:
    crm.register("ada", "bob")
    crm.number()
    integration = await start(**of_routes(tmp_path, webhook(start_from=start_from)))
    await integration.listen()
    crm.register("cid", "dan")
    await integration.listen()

    found = await compared(integration)
    await lose(integration)

    assert (found.events, found.missing) == (2, 0)
    assert (await compared(integration)).missing == 1


async def test_what_is_compared_begins_with_the_first_page(
    integration: Integration, crm: CrmDouble
) -> None:
    for uid in ("ada", "bob", "cid"):
        crm.register(uid)
        await integration.listen()
    await lose(integration, "DELETE FROM deliveries WHERE sequence = 1")

    found = await compared(integration)

    assert (found.events, found.missing) == (3, 1)


async def test_nor_are_those_of_a_gap_that_was_accepted(
    integration: Integration, crm: CrmDouble
) -> None:
    crm.register("ada")
    await integration.listen()
    crm.epoch = "another"
    crm.register("bob")
    await integration.listen()
    with pytest.raises(RouteNotRead, match="in a gap"):
        await compared(integration)

    await integration.database.write(control.accept_gap, "shop", "newest", COMMAND_LINE)
    await integration.listen()
    crm.register("cid")
    await integration.listen()

    assert await compared(integration) == Found("shop", through_position=3, events=1)


async def test_where_events_are_pruned_the_rest_is_compared(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    crm.register("ada", "bob", "cid", "dan")
    crm.number()
    await integration.listen()
    await integration.report()
    crm.pruned = 3
    await lose(integration)

    found = await compared(integration)

    assert (found.events, found.missing) == (1, 1)


async def test_a_restored_crm_is_not_compared_with(
    integration: Integration, crm: CrmDouble
) -> None:
    crm.register("ada")
    await integration.listen()
    crm.epoch = "restored"

    with pytest.raises(Transient):
        await compared(integration, repair=True)


async def test_a_route_without_a_place_is_not_compared(
    integration: Integration, crm: CrmDouble
) -> None:
    with pytest.raises(RouteNotRead, match="has read nothing"):
        await compared(integration)


async def test_nothing_is_owed_to_a_route_that_has_begun_anew_meanwhile(
    integration: Integration, crm: CrmDouble
) -> None:
    crm.register("ada")
    await integration.listen()
    place = (await integration.database.read(places.states))["shop"]
    event = OwedEvent("an-event", "customer.created", "ada", 1)
    await integration.database.write(change, "UPDATE routes SET feed_state = 'gap'")
    await integration.database.write(control.accept_gap, "shop", "newest", COMMAND_LINE)

    now = integration.clock()
    repaired = await integration.database.write(reconciliations.repair_events, place, [event], now)

    assert repaired == 0
    assert await integration.database.read(store.counts) == {"pending": 1}
