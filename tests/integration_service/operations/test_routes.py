"""The routes: what each does and owes, and that it can be paused by itself."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from integration_service.app import create_app
from integration_service.deliveries import erasures
from integration_service.deliveries.models import ErasedCustomer
from integration_service.settings import Settings
from tests.conftest import running
from tests.described import keeps_its_word
from tests.integration_service.conftest import Integration
from tests.integration_service.doubles import CrmDouble, InventoryDouble, answers, refuses_each

WELCOME = "/routes/welcome-package"


@pytest.fixture
async def api(
    settings: Settings, integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> AsyncIterator[httpx.AsyncClient]:
    """A replica that stands by, as an admin sees it."""
    async with running(create_app(settings), token="admin123") as client:
        yield keeps_its_word(client)


async def listed(api: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await api.get("/deliveries", params=query)
    assert answer.status_code == 200, answer.text
    return [one["customer_uid"] for one in answer.json()]


async def test_a_route_says_what_it_does_how_far_it_is_and_what_it_owes(
    api: httpx.AsyncClient, integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    inventory.faults.append(refuses_each(422, "invalid-request"))
    crm.register("dead")
    await integration.work()
    crm.register("ada", "bob")
    await integration.poll()
    [route] = (await api.get("/routes")).json()

    assert route == (await api.get(WELCOME)).json()
    assert {name: route[name] for name in ("name", "on", "unless", "target", "send")} == {
        "name": "welcome-package",
        "on": ["customer.created"],
        "unless": {"data.welcome": False},
        "target": "inventory",
        "send": {"package_type": "welcome_package"},
    }
    assert route["undo_on"] == ["customer.erased"]
    assert route["paused_at"] is None
    assert route["circuit"]["state"] == "closed"
    assert (route["feed"]["position"], route["feed"]["lag_events"]) == (3, 0)
    assert route["deliveries"] == {
        **dict.fromkeys(("retrying", "delivered", "skipped", "undone"), 0),
        "pending": 2,
        "dead": 1,
    }


async def test_while_a_route_is_paused_nothing_of_it_is_sent_and_nobody_is_forgotten(
    api: httpx.AsyncClient, integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    paused = (await api.post(f"{WELCOME}/pause")).json()
    assert paused["paused_at"] is not None
    assert (await api.post(f"{WELCOME}/pause")).json() == paused
    crm.register("ada")
    erased = [ErasedCustomer("zoe", None)]
    await integration.database.write(erasures.note, erased, integration.clock())

    await integration.work()
    assert not await integration.poller.erasing.erase_some(integration.lease)
    heir = await integration.restarted()
    await heir.work()

    assert inventory.requests == []
    metrics = (await api.get("/metrics")).text
    assert 'integration_route_paused{route="welcome-package"} 1.0' in metrics
    assert "integration_paused 1.0" in metrics
    assert (await api.get("/status")).json()["paused_at"] is None, "not all of it"
    assert (await api.post("/resume")).json() == {"paused": False, "paused_at": None}
    await heir.work()
    assert inventory.requests == [], "it was not paused by that"
    assert (await api.post(f"{WELCOME}/resume")).json()["paused_at"] is None
    await heir.work()
    assert inventory.owners == ["ada"]
    await heir.die()


async def test_a_pause_of_all_pauses_each_route(
    api: httpx.AsyncClient, integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    at = (await api.post("/pause")).json()["paused_at"]
    crm.register("ada")
    resumed = (await api.post(f"{WELCOME}/resume")).json()
    await integration.work()

    assert resumed["paused_at"] == at
    assert inventory.requests == []


async def test_deliveries_are_found_by_route_and_text_in_both_orders(
    api: httpx.AsyncClient, integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("ada", "bob", "cid-100%")
    inventory.fault = answers(503)
    await integration.work()

    everyone = ["ada", "bob", "cid-100%"]
    assert await listed(api, route="welcome-package") == everyone
    assert await listed(api, sort="-id") == everyone[::-1]
    assert await listed(api, sort="-id", limit=2) == ["cid-100%", "bob"]
    assert await listed(api, q="B") == ["bob"]
    assert await listed(api, q="100%") == ["cid-100%"]
    assert await listed(api, q="%") == ["cid-100%"]
    assert await listed(api, q="_") == []
    assert await listed(api, q="503", state="retrying") == everyone
    assert await listed(api, q="503", state="delivered") == []


async def test_pages_lead_to_every_delivery_in_both_orders(
    api: httpx.AsyncClient, integration: Integration, crm: CrmDouble
) -> None:
    uids = [f"c{n}" for n in range(5)]
    crm.register(*uids)
    await integration.poll()
    for sort, expected in (("id", uids), ("-id", uids[::-1])):
        answer = await api.get("/deliveries", params={"sort": sort, "limit": 2})
        found = answer.json()
        while "next" in answer.links:
            answer = await api.get(answer.links["next"]["url"])
            found += answer.json()
        assert [one["customer_uid"] for one in found] == expected


@pytest.mark.parametrize("query", [{"route": "none-such"}, {"sort": "at"}, {"q": ""}], ids=str)
async def test_a_filter_that_makes_no_sense_is_refused(
    api: httpx.AsyncClient, query: dict[str, str]
) -> None:
    assert (await api.get("/deliveries", params=query)).status_code == 422
