"""What was sent is sent again for a range of the feed, but nothing to who was erased."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row

from integration_service.deliveries import service
from integration_service.deliveries.replay import replay
from integration_service.deliveries.schemas import ReplayOrder, ReplayResult
from integration_service.ledger import control
from integration_service.ledger.models import audit
from integration_service.routes.definitions import WELCOME
from service_kit.web.auth import COMMAND_LINE
from tests.integration_service.conftest import Integration, Start, change
from tests.integration_service.doubles import CrmDouble, InventoryDouble, erased
from tests.integration_service.webhooks import ReceiverDouble, of_routes, webhook


def recorded(db: Connection) -> Sequence[Row[Any]]:
    return db.execute(audit.table.select()).all()


async def replayed(integration: Integration, route: str, first: int, last: int) -> ReplayResult:
    order = ReplayOrder.model_validate({"route": route, "from": first, "to": last})
    return await replay(integration.database, integration.clock, order, COMMAND_LINE)


async def test_nobody_who_was_erased_gets_a_package_by_a_replay(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("jane", "john")
    await integration.work()
    crm.publish(erased("jane", 3, 41))
    await integration.work()

    done = await replayed(integration, WELCOME.name, 1, 3)
    await integration.work()

    assert done.replayed == 1
    assert inventory.batches == [["jane", "john"], ["john"]]


async def test_what_is_finished_in_any_way_but_one_is_sent_again(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> None:
    integration = await start(**of_routes(tmp_path, webhook()))
    crm.register("delivered", "dead", "dismissed", "removed")
    await integration.listen()
    await integration.report()
    removed = "UPDATE deliveries SET state = 'skipped', skip_reason = 'route-removed'"
    await integration.database.write(
        change,
        "UPDATE deliveries SET state = 'dead' WHERE sequence IN (2, 3)",
        f"{removed} WHERE sequence = 4",
    )
    dismissed = crm.events[2]["id"]
    now = integration.clock()
    await integration.database.write(
        service.dismiss, dismissed, "Known.", now, COMMAND_LINE, "shop"
    )
    crm.register("pending")
    await integration.listen()

    done = await replayed(integration, "shop", 1, 5)
    await integration.report()

    assert done.replayed == 3
    assert sorted(shop.sequences) == [1, 1, 2, 2, 3, 3, 4, 5]


async def test_a_replay_wakes_the_poller_and_is_on_record(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> None:
    integration = await start(**of_routes(tmp_path, webhook()))
    crm.register("ada")
    await integration.listen()
    await integration.report()
    before = await integration.database.read(control.control_state)

    await replayed(integration, "shop", 1, 1)

    after = await integration.database.read(control.control_state)
    assert after.wake_count > before.wake_count
    [entry] = await integration.database.read(recorded)
    assert (entry.action, entry.subject) == ("delivery.replayed", crm.events[0]["id"])
