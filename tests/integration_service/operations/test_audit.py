"""The integration's audit: who has paused, resumed, retried, dismissed, compared and repaired."""

import re
from typing import Any

import httpx

from integration_service.app import create_app
from integration_service.settings import Settings
from tests.conftest import running
from tests.described import keeps_its_word
from tests.integration_service.conftest import Integration, change
from tests.integration_service.doubles import CrmDouble, InventoryDouble, refuses_each


async def entries(api: httpx.AsyncClient, **query: Any) -> list[tuple[str, str, str]]:
    found = (await api.get("/audit", params=query)).json()
    return [
        (one["actor"], one["action"], re.sub("run [0-9]+", "run …", one["subject"]))
        for one in found
    ]


async def test_each_order_of_an_operator_leaves_an_entry_once(
    settings: Settings, integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    inventory.fault = refuses_each(422, "invalid-request")
    crm.register("ada", "bob", "cid")
    await integration.work()
    dead = {"state": "dead"}
    orders: list[tuple[str, Any, list[tuple[str, str]]]] = [
        ("/pause", None, [("deliveries.paused", "all")]),
        ("/pause", None, []),
        ("/resume", None, [("deliveries.resumed", "all")]),
        ("/resume", None, []),
        ("/poll", None, []),
        ("/routes/welcome-package/pause", None, [("route.paused", "welcome-package")]),
        ("/routes/welcome-package/pause", None, []),
        ("/routes/welcome-package/resume", None, [("route.resumed", "welcome-package")]),
        ("/routes/welcome-package/resume", None, []),
        ("/deliveries/ada/dismiss", {"reason": "By hand."}, [("delivery.dismissed", "ada")]),
        ("/deliveries/ada/dismiss", {"reason": "By hand."}, []),
        ("/deliveries/ada/retry", None, [("delivery.retried", "ada")]),
        ("/deliveries/ada/retry", None, []),
        ("/deliveries/retry", dead | {"dry_run": True}, []),
        ("/deliveries/retry", dead, [("delivery.retried", "bob"), ("delivery.retried", "cid")]),
        ("/reconcile", {"repair": False}, [("reconcile.requested", "run …")]),
        ("/reconcile", {"repair": True}, []),
    ]
    async with running(create_app(settings), token="admin123") as api:
        keeps_its_word(api)
        for path, body, left in orders:
            before = len(await entries(api))
            answer = await api.post(path, json=body)
            assert answer.status_code < 500, answer.text
            new = (await entries(api))[before:]
            assert new == [("admin", *one) for one in left], path


async def test_a_repair_and_its_confirmation_are_told_apart(
    settings: Settings, integration: Integration
) -> None:
    app = create_app(settings.model_copy(update={"reconcile_interval_seconds": 0}))
    async with running(app, token="admin123") as api:
        keeps_its_word(api)
        for order in ({"repair": True}, {"repair": True, "confirm": True}):
            assert (await api.post("/reconcile", json=order)).status_code == 202
            await integration.database.write(change, "UPDATE reconciliations SET state = 'failed'")
        found = await entries(api)

    assert found == [
        ("admin", "repair.requested", "run …"),
        ("admin", "repair.confirmed", "run …"),
    ]
