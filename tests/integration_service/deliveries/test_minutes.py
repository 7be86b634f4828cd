"""What came of deliveries is counted by the minute, for a day, without looking at them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Connection, func, select

from integration_service.app import create_app
from integration_service.deliveries import minutes
from integration_service.deliveries.models import Settlement, minute_counts
from integration_service.deliveries.schemas import MINUTES, DeliveriesPerMinute
from integration_service.settings import Settings
from service_kit.process import clock
from tests.conftest import running
from tests.integration_service.conftest import Integration, Start
from tests.integration_service.doubles import CrmDouble, InventoryDouble, answers
from tests.integration_service.webhooks import ReceiverDouble, of_routes, webhook
from tests.statements import statements

AT = datetime(2026, 1, 5, 12, 30, 40, tzinfo=UTC)


def settled(at: datetime, took: float = 10.0, *, failed: bool = False) -> Settlement:
    if failed:
        return Settlement(1, "retrying", at, 503, took, error_class="transient")
    return Settlement(1, "delivered", at, 201, took)


async def counted(
    integration: Integration, now: datetime | None = None, route: str | None = None
) -> DeliveriesPerMinute:
    at = now or integration.clock()
    return await integration.database.read(minutes.per_minute, at, route)


async def test_what_is_delivered_is_counted_in_the_minute_that_runs(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("ada")
    crm.register("bob")
    await integration.work()
    integration.clock.advance(minutes=2)
    crm.register("eve")
    await integration.work()

    found = await counted(integration)

    assert len(found.delivered) == len(found.failed_attempts) == MINUTES
    assert found.delivered[-3:] == [2, 0, 1]
    assert sum(found.delivered) == 3
    assert sum(found.failed_attempts) == 0
    assert found.since == integration.clock() - timedelta(minutes=MINUTES - 1)
    assert found.slowest_ms is not None


async def test_an_attempt_that_failed_is_counted_as_such_and_is_not_the_slowest(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("ada")
    inventory.fault = answers(429)
    await integration.work()

    found = await counted(integration)

    assert found.delivered[-1] == 0
    assert found.failed_attempts[-1] == 1
    assert (found.slowest_ms, found.slowest_at) == (None, None)


async def test_the_slowest_is_the_longest_attempt_that_delivered(integration: Integration) -> None:
    def work(db: Connection) -> None:
        minutes.count(db, "a", [settled(AT - timedelta(minutes=5), 80.5), settled(AT, 20.0)])
        minutes.count(db, "a", [settled(AT, 90.0, failed=True)])
        minutes.count(db, "a", [settled(AT, 30.0)])
        minutes.count(db, "a", [settled(AT - timedelta(minutes=5), 70.0)])

    await integration.database.write(work)

    found = await counted(integration, AT)
    assert (found.slowest_ms, found.slowest_at) == (
        80.5,
        datetime(2026, 1, 5, 12, 25, tzinfo=UTC),
    )
    assert found.delivered[-6:] == [2, 0, 0, 0, 0, 2]
    assert found.failed_attempts[-1] == 1


async def test_a_first_attempt_that_fails_leaves_room_for_the_slowest(
    integration: Integration,
) -> None:
    def work(db: Connection) -> None:
        minutes.count(db, "a", [settled(AT, failed=True)])
        minutes.count(db, "a", [settled(AT, 12.0)])

    await integration.database.write(work)

    assert (await counted(integration, AT)).slowest_ms == 12.0


async def test_a_day_is_kept_and_no_more(integration: Integration) -> None:
    first = AT - timedelta(minutes=MINUTES)

    def work(db: Connection) -> None:
        minutes.count(db, "a", [settled(first, 99.0), settled(first, failed=True)])
        minutes.count(db, "a", [settled(first + timedelta(minutes=1), 20.0)])
        minutes.count(db, "a", [settled(AT, 10.0)])

    await integration.database.write(work)

    found = await counted(integration, AT)
    assert (found.delivered[0], found.delivered[-1]) == (1, 1)
    assert sum(found.delivered) == 2
    assert sum(found.failed_attempts) == 0
    assert found.slowest_ms == 20.0
    kept = select(func.count()).select_from(minute_counts)
    assert await integration.database.read(lambda db: db.execute(kept).scalar_one()) == 2


async def test_what_a_clock_that_ran_ahead_has_written_is_not_counted_yet(
    integration: Integration,
) -> None:
    ahead = AT + timedelta(minutes=1)
    await integration.database.write(lambda db: minutes.count(db, "a", [settled(ahead)]))

    assert sum((await counted(integration, AT)).delivered) == 0
    assert sum((await counted(integration, ahead)).delivered) == 1


async def test_each_route_is_counted_for_itself(
    start: Start, tmp_path: Path, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    integration = await start(**of_routes(tmp_path, webhook()))
    crm.register("ada")
    await integration.listen()
    await integration.report()
    assert len(shop.accepted) == 1

    [name] = [one.route for one in (await integration.rows()).values()]
    assert sum((await counted(integration, route=name)).delivered) == 1
    assert sum((await counted(integration, route="another")).delivered) == 0
    assert sum((await counted(integration)).delivered) == 1


async def test_asking_looks_at_no_delivery(integration: Integration) -> None:
    with statements() as sent:
        await counted(integration)

    assert len(sent) == 1
    assert "minute_counts" in sent[0]
    assert not any(f"{name}." in sent[0] for name in ("deliveries", "attempts"))


@pytest.fixture
def now() -> datetime:
    return clock.now()


async def test_the_api_counts_all_routes_or_one(
    settings: Settings, integration: Integration, now: datetime
) -> None:
    def work(db: Connection) -> None:
        minutes.count(db, "welcome-package", [settled(now, 41.5)])
        minutes.count(db, "web-shop", [settled(now, 50.0)])

    await integration.database.write(work)

    async with running(create_app(settings), token="viewer123") as client:
        total = (await client.get("/deliveries/per-minute")).json()
        one = (await client.get("/deliveries/per-minute?route=welcome-package")).json()
        unknown: httpx.Response = await client.get("/deliveries/per-minute?route=no-such")

    assert (sum(total["delivered"]), total["slowest_ms"]) == (2, 50.0)
    assert (sum(one["delivered"]), one["slowest_ms"]) == (1, 41.5)
    assert unknown.status_code == 422
    assert "There are the routes" in unknown.json()["detail"]
