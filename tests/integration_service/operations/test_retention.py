"""Old attempts are deleted; what is owed, counted and compared stays as it is."""

from datetime import datetime, timedelta

import httpx
import pytest
from sqlalchemy import func, select

from integration_service.app import create_app
from integration_service.deliveries.models import attempts
from integration_service.deliveries.replay import replay
from integration_service.deliveries.schemas import ReplayOrder
from integration_service.retention import KEPT
from integration_service.routes.definitions import WELCOME
from integration_service.settings import Settings
from service_kit.process import clock as system_clock
from service_kit.process.retention import Kept
from service_kit.web.auth import COMMAND_LINE
from tests.conftest import running
from tests.integration_service.conftest import FakeClock, Integration
from tests.integration_service.doubles import CrmDouble, InventoryDouble, answers, refuses_each

pytestmark = pytest.mark.usefixtures("crm", "inventory")

DAY = timedelta(days=1)
ATTEMPTS: Kept = next(one for one in KEPT if one.what == "attempts")


@pytest.fixture(autouse=True)
def _same_time(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have old be what is old by the test's clock."""
    monkeypatch.setattr(system_clock, "now", clock)


async def pruned(integration: Integration, days: int = 90) -> int | None:
    settings = integration.settings.model_copy(update={"retention_attempts_days": days})
    return await ATTEMPTS.prune(settings, integration.database)


async def instants(integration: Integration) -> list[datetime]:
    """Return when each attempt was that is left."""
    found = select(attempts.c.at).order_by(attempts.c.id)
    return await integration.database.read(lambda db: list(db.execute(found).scalars()))


async def counted(client: httpx.AsyncClient) -> list[str]:
    lines = (await client.get("/metrics")).text.splitlines()
    return [line for line in lines if line.startswith("integration_attempts")]


async def test_attempts_older_than_the_setting_are_deleted(
    integration: Integration, crm: CrmDouble, clock: FakeClock
) -> None:
    crm.register("ada")
    await integration.work()
    clock.advance(days=60)
    crm.register("bob")
    await integration.work()
    clock.advance(days=30, seconds=1)

    assert await pruned(integration) == 1

    assert await instants(integration) == [clock() - 30 * DAY - timedelta(seconds=1)]
    assert await integration.states() == {"ada": "delivered", "bob": "delivered"}
    assert await pruned(integration, days=0) is None


async def test_a_delivery_goes_on_counting_attempts_that_are_gone(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    """Else it would never be dead, having been tried ten times."""
    crm.register("ada")
    inventory.faults += [answers(429), answers(429)]
    await integration.work()
    clock.advance(hours=1)
    await integration.send()
    clock.advance(days=91)

    assert await pruned(integration) == 2

    shown = await integration.delivery("ada")
    assert (shown.state, shown.attempt_count, shown.attempts) == ("retrying", 2, [])
    await integration.send()
    shown = await integration.delivery("ada")
    assert (shown.state, shown.attempt_count, len(shown.attempts)) == ("delivered", 3, 1)


async def test_a_dead_delivery_says_why_without_its_attempts(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    inventory.faults.append(refuses_each(422, "invalid-request"))
    crm.register("ada")
    await integration.work()
    before = await integration.delivery("ada")
    clock.advance(days=91)

    assert await pruned(integration) == 1

    after = await integration.delivery("ada")
    assert after == before.model_copy(update={"attempts": []})
    assert after.error is not None


async def test_metrics_count_attempts_that_are_gone(
    integration: Integration, settings: Settings, crm: CrmDouble, clock: FakeClock
) -> None:
    crm.register("ada")
    await integration.work()
    async with running(create_app(settings)) as client:
        before = await counted(client)
        clock.advance(days=91)

        assert await pruned(integration) == 1

        assert await counted(client) == before
    assert 'integration_attempts_total{outcome="success"} 1.0' in before


async def test_a_replay_sends_again_what_has_no_attempts_any_more(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    crm.register("ada")
    await integration.work()
    clock.advance(days=91)
    await pruned(integration)
    order = ReplayOrder.model_validate({"route": WELCOME.name, "from": 1, "to": 1})

    done = await replay(integration.database, clock, order, COMMAND_LINE)
    await integration.send()

    shown = await integration.delivery("ada")
    assert (done.replayed, shown.state, len(shown.attempts)) == (1, "delivered", 1)
    assert (await integration.reconcile()).double == 0


async def test_a_comparison_finds_nothing_missing(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    crm.register("ada")
    await integration.work()
    clock.advance(days=91)
    await pruned(integration)

    run = await integration.reconcile(repair=True)

    assert (run.missing, run.extra, run.double, run.repaired) == (0, 0, 0, 0)
    assert await instants(integration) == []


async def test_no_attempts_no_deletions(integration: Integration) -> None:
    assert await pruned(integration) == 0
    count = select(func.count()).select_from(attempts)
    assert await integration.database.read(lambda db: db.execute(count).scalar_one()) == 0
