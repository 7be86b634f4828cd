"""What Prometheus is told, and that nothing about a person is in it."""

import httpx
import pytest

from integration_service.app import create_app
from integration_service.ledger import control
from integration_service.reconcile import comparison as comparing
from integration_service.settings import Settings
from service_kit.web.auth import COMMAND_LINE
from tests.conftest import running
from tests.integration_service.conftest import Integration
from tests.integration_service.doubles import CrmDouble, InventoryDouble, answers, refuses_each


async def metrics(client: httpx.AsyncClient) -> dict[str, float]:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    lines = [line for line in answer.text.splitlines() if line.startswith("integration_")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


async def test_they_show_the_ledger(
    integration: Integration,
    settings: Settings,
    crm: CrmDouble,
    inventory: InventoryDouble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparing, "PATIENCE_SECONDS", 0.0)
    crm.register("ada")
    inventory.faults.append(refuses_each(422, "invalid-request"))
    await integration.work()
    crm.register("bob")
    await integration.work()
    crm.register("cid")
    inventory.faults.append(answers(429))
    await integration.work()
    await integration.reconcile()
    crm.fault = answers(401)
    await integration.poll()
    await integration.database.write(control.pause, integration.clock(), COMMAND_LINE)

    async with running(create_app(settings)) as client:
        told = await metrics(client)
        text = (await client.get("/metrics")).text

    expected = {
        "ledger_up": 1,
        "feed_position": 3,
        "feed_head_position": 3,
        "feed_lag_events": 0,
        "feed_lag_seconds": 0,
        'feed_state{state="running"}': 1,
        'feed_state{state="recovering"}': 0,
        "recoveries_total": 0,
        'deliveries{state="dead"}': 1,
        'deliveries{state="delivered"}': 1,
        'deliveries{state="retrying"}': 1,
        'deliveries{state="undone"}': 0,
        'attempts_total{outcome="success"}': 1,
        'attempts_total{outcome="refused"}': 1,
        'attempts_total{outcome="transient"}': 1,
        'circuit_open{target="crm"}': 1,
        'circuit_open{target="inventory"}': 0,
        "paused": 1,
        "lease_held": 1,
        "lease_epoch": 1,
        "erasures_waiting": 0,
        "reconcile_missing": 1,
        "reconcile_held_back": 0,
        "reconcile_extra": 0,
        "reconcile_double": 0,
        "reconcile_erased": 0,
        "repairs_total": 0,
        "last_poll_timestamp_seconds": integration.clock().timestamp(),
    }
    assert {name: told[f"integration_{name}"] for name in expected} == expected
    assert told["integration_oldest_unfinished_seconds"] > 0
    assert told["integration_reconcile_timestamp_seconds"] > 0
    assert "ada" not in text
    assert "example.com" not in text


async def test_without_the_ledger_the_others_are_still_told(
    settings: Settings, integration: Integration, crm: CrmDouble
) -> None:
    app = create_app(settings)
    async with running(app) as client:
        database = app.state.database
        database._closing, was = True, database._closing
        answer = await client.get("/metrics")
        database._closing = was

    assert "integration_ledger_up 0.0" in answer.text
    assert "integration_deliveries" not in answer.text
