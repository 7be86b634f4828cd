"""What webhooks are owed stays right where the CRM is put back to an older copy of itself."""

from pathlib import Path
from typing import Any

import pytest

from integration_service.deliveries import service, store
from integration_service.deliveries.models import Delivery
from integration_service.deliveries.replay import replay
from integration_service.deliveries.schemas import ReplayOrder
from integration_service.ledger import control
from integration_service.targets.webhook import webhook_id
from service_kit.web.auth import COMMAND_LINE
from tests.integration_service.conftest import Integration, Start, change
from tests.integration_service.doubles import CrmDouble
from tests.integration_service.webhooks import ReceiverDouble, of_routes, webhook


@pytest.fixture
async def integration(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> Integration:
    """The integration, which is owed the events of Zoe, at position 1, and of Ada, at 2."""
    integration = await start(**of_routes(tmp_path, webhook()))
    crm.register("zoe", "ada")
    await integration.listen()
    forget_what_was_read(integration)
    return integration


@pytest.fixture
async def owed_ada(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> Integration:
    """The same, once it has sent what it was owed of Zoe: who looks for hers would meet Ada's."""
    integration = await start(**of_routes(tmp_path, webhook()))
    crm.register("zoe")
    await integration.listen()
    await integration.report()
    crm.register("ada")
    await integration.listen()
    forget_what_was_read(integration)
    return integration


def forget_what_was_read(integration: Integration) -> None:
    integration.poller.subscriptions.recent._kept.clear()


def lose_zoe(crm: CrmDouble) -> None:
    """Put the CRM back to a copy that has Ada's event without a position, and not Zoe's."""
    [_, ada] = crm.events
    crm.epoch, crm.events, crm._numbered = "restored", [{**ada, "sequence": 1}], 0


async def accept_the_gap(integration: Integration, start: str = "oldest") -> None:
    """Find the gap, accept it, and read the feed from there."""
    await integration.listen()
    assert await integration.database.write(control.accept_gap, "shop", start, COMMAND_LINE)
    await integration.listen()
    forget_what_was_read(integration)


async def rows(integration: Integration) -> dict[str, Delivery]:
    """Return what the webhook is owed, by the customers whom it is about."""
    page = await integration.database.read(store.page, store.Filter(), None, 100)
    return {str(row.event_subject): row for row in page.rows}


async def states(integration: Integration) -> dict[str, str]:
    return {name: row.state for name, row in (await rows(integration)).items()}


def told(shop: ReceiverDouble) -> list[str]:
    return [event["subject"] for event in shop.accepted]


async def test_what_was_not_found_is_sent_once_the_feed_has_it_again(
    owed_ada: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    lose_zoe(crm)
    await owed_ada.report()
    assert await states(owed_ada) == {"zoe": "delivered", "ada": "dead"}

    await accept_the_gap(owed_ada)
    await owed_ada.report()

    found = await rows(owed_ada)
    assert {name: row.state for name, row in found.items()} == {
        "zoe": "delivered",
        "ada": "delivered",
    }
    assert found["ada"].sequence == 1
    assert shop.ids == [webhook_id("shop", found[name].subject) for name in ("zoe", "ada")]


async def test_what_is_still_owed_is_looked_for_where_it_stands_now(
    owed_ada: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    lose_zoe(crm)

    await accept_the_gap(owed_ada)
    await owed_ada.report()

    assert await states(owed_ada) == {"zoe": "delivered", "ada": "delivered"}
    assert told(shop) == ["zoe", "ada"]


async def test_what_was_delivered_is_not_sent_again_and_can_be_replayed(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    await integration.report()
    lose_zoe(crm)
    await accept_the_gap(integration)
    await integration.report()
    assert told(shop) == ["zoe", "ada"]
    integration.clock.advance(minutes=1)
    order = ReplayOrder.model_validate({"route": "shop", "from": 1, "to": 1})

    await replay(integration.database, integration.clock, order, COMMAND_LINE)
    await integration.report()

    assert told(shop).count("ada") == 2


async def test_a_restore_that_is_undone_revives_what_was_dead_for_it(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    before = crm.events
    lose_zoe(crm)
    await accept_the_gap(integration)
    await integration.report()

    crm.epoch, crm.events, crm._numbered = "undone", before, 2
    await accept_the_gap(integration)
    await integration.report()

    assert await states(integration) == {"zoe": "delivered", "ada": "delivered"}
    assert told(shop) == ["ada", "zoe"]


@pytest.mark.parametrize("how", ["given up", "dismissed"])
async def test_what_is_settled_for_another_reason_stays_so(
    owed_ada: Integration, crm: CrmDouble, shop: ReceiverDouble, how: str
) -> None:
    lose_zoe(crm)
    await owed_ada.report()
    ada = (await rows(owed_ada))["ada"].subject
    if how == "dismissed":
        now = owed_ada.clock()
        await owed_ada.database.write(service.dismiss, ada, "It has it.", now, COMMAND_LINE, "shop")
    else:
        given_up = "UPDATE deliveries SET error_class = 'transient' WHERE event_subject = 'ada'"
        await owed_ada.database.write(change, given_up)

    await accept_the_gap(owed_ada)
    await owed_ada.report()

    assert await states(owed_ada) == {
        "zoe": "delivered",
        "ada": "skipped" if how == "dismissed" else "dead",
    }
    assert told(shop) == ["zoe"]


async def test_what_is_looked_up_while_the_feed_is_read_anew_is_looked_up_again(
    owed_ada: Integration,
    crm: CrmDouble,
    shop: ReceiverDouble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The look-up by the old position fails after the new one is in the ledger."""
    lose_zoe(crm)
    [reporting] = owed_ada.poller.reporting
    find, asked = reporting._find_event, []

    async def find_late(position: int, event_id: str, through: int) -> Any:
        found = await find(position, event_id, through)
        asked.append(position)
        if position == 2:
            await accept_the_gap(owed_ada)
        return found

    monkeypatch.setattr(reporting, "_find_event", find_late)
    await owed_ada.report()

    assert asked == [2, 1]
    assert await states(owed_ada) == {"zoe": "delivered", "ada": "delivered"}
    [attempt] = (
        await owed_ada.database.read(service.show, (await rows(owed_ada))["ada"].subject, "shop")
    ).attempts
    assert attempt.status == 204
