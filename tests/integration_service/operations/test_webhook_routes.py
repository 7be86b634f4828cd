"""Webhooks' routes as operators see and steer them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from integration_service.app import create_app
from integration_service.feed import places
from integration_service.poller import adoption
from integration_service.poller.adoption import RoutesRefused
from integration_service.settings import Settings
from service_kit.process.environment import Refused
from tests.conftest import running
from tests.described import keeps_its_word
from tests.integration_service.conftest import Integration, Start, change
from tests.integration_service.doubles import CrmDouble
from tests.integration_service.webhooks import WELCOME, ReceiverDouble, of_routes, webhook


@pytest.fixture
async def integration(start: Start, tmp_path: Path, shop: ReceiverDouble) -> Integration:
    return await start(**of_routes(tmp_path, webhook()))


@pytest.fixture
async def api(integration: Integration, crm: CrmDouble) -> AsyncIterator[httpx.AsyncClient]:
    """A replica that stands by, as an admin sees it."""
    async with running(create_app(integration.settings), token="admin123") as client:
        yield keeps_its_word(client)


async def fail_for(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble, status: int
) -> dict[str, Any]:
    """Have one event fail. Returns it."""
    crm.register("ada")
    await integration.listen()
    shop.fault = lambda _: httpx.Response(status, text="no such shop")
    await integration.report()
    shop.fault = None
    event: dict[str, Any] = crm.events[0]
    return event


async def test_a_route_shows_whom_it_reports_to_and_not_where_exactly(
    api: httpx.AsyncClient, integration: Integration, crm: CrmDouble
) -> None:
    crm.register("ada")
    await integration.listen()

    [route] = (await api.get("/routes")).json()

    assert route == (await api.get("/routes/shop")).json()
    assert (route["target"], route["receiver"]) == ("webhook", "http://127.0.0.1:9")
    assert (route["order"], route["on"]) == ("none", ["customer.*", "ticket.*"])
    assert (route["feed"]["position"], route["feed"]["lag_events"]) == (1, 0)
    assert route["feed"]["start_from"] == "beginning"
    assert route["deliveries"]["pending"] == 1
    [summary] = (await api.get("/status")).json()["routes"]
    assert (summary["name"], summary["lag_events"]) == ("shop", 0)


async def test_one_delivery_shows_its_event_and_what_the_receiver_answered(
    api: httpx.AsyncClient, integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    event = await fail_for(integration, crm, shop, 500)

    shown = (await api.get(f"/routes/shop/deliveries/{event['id']}")).json()

    assert (shown["event_id"], shown["event_type"]) == (event["id"], "customer.created")
    assert (shown["event_subject"], shown["customer_uid"]) == ("ada", None)
    assert shown["problem"]["detail"] == "no such shop"
    assert [one["status"] for one in shown["attempts"]] == [500]
    [listed] = (await api.get("/deliveries", params={"route": "shop", "state": "retrying"})).json()
    assert listed["event_id"] == event["id"]
    assert (await api.get("/routes/shop/deliveries/none")).status_code == 404
    # The welcome route's address knows customers alone.
    assert (await api.get(f"/deliveries/{event['id']}")).status_code == 404


async def test_one_delivery_is_retried_and_dismissed_by_its_route(
    api: httpx.AsyncClient, integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    event = await fail_for(integration, crm, shop, 500)
    path = f"/routes/shop/deliveries/{event['id']}"
    dead = "UPDATE deliveries SET state = 'dead', next_attempt_at = NULL"
    await integration.database.write(change, dead)

    dismissed = (await api.post(f"{path}/dismiss", json={"reason": "Known."})).json()

    assert (dismissed["state"], dismissed["dismissed_reason"]) == ("skipped", "Known.")
    assert (await api.post(f"{path}/retry")).json()["state"] == "pending"
    await integration.report()
    assert (await api.get(path)).json()["state"] == "delivered"


async def test_a_range_is_sent_again(
    api: httpx.AsyncClient, integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    crm.register("ada", "bob", "cyd")
    await integration.listen()
    await integration.report()
    body = {"route": "shop", "from": 2, "to": 3}

    looked = (await api.post("/deliveries/replay", json={**body, "dry_run": True})).json()
    done = (await api.post("/deliveries/replay", json=body)).json()
    await integration.report()

    assert looked == {"dry_run": True, "replayed": 2}
    assert done == {"dry_run": False, "replayed": 2}
    assert sorted(shop.sequences) == [1, 2, 2, 3, 3]
    assert len(set(shop.ids)) == 3


async def test_a_gap_is_shown_and_accepted(
    api: httpx.AsyncClient, integration: Integration, crm: CrmDouble
) -> None:
    crm.register("ada")
    await integration.listen()
    crm.epoch = "restored"
    await integration.listen()

    route = (await api.get("/routes/shop")).json()
    assert route["feed"]["state"] == "gap"
    assert route["last_error"]
    assert (await api.post("/routes/shop/resume")).json()["feed"]["state"] == "gap"
    order = {"accept_gap": True, "from": "oldest"}
    resumed = (await api.post("/routes/shop/resume", params=order)).json()

    assert resumed["feed"]["state"] == "running"
    actions = [one["action"] for one in (await api.get("/audit")).json()]
    assert actions == ["route.gap_accepted"]


async def test_a_receiver_that_is_gone_is_named_as_the_reason_of_the_pause(
    api: httpx.AsyncClient, integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    await fail_for(integration, crm, shop, 410)

    route = (await api.get("/routes/shop")).json()

    assert route["paused_at"] is not None
    assert "410" in route["pause_reason"]
    assert 'integration_route_gone{route="shop"} 1.0' in (await api.get("/metrics")).text
    resumed = (await api.post("/routes/shop/resume")).json()
    assert (resumed["paused_at"], resumed["pause_reason"]) == (None, None)
    assert 'integration_route_gone{route="shop"} 0.0' in (await api.get("/metrics")).text


async def test_metrics_tell_of_each_route(
    api: httpx.AsyncClient, integration: Integration, crm: CrmDouble
) -> None:
    crm.register("ada")
    await integration.listen()

    exposition = (await api.get("/metrics")).text

    assert 'integration_route_deliveries{route="shop",state="pending"} 1.0' in exposition
    assert 'integration_route_lag_events{route="shop"} 0.0' in exposition
    assert 'integration_route_gap{route="shop"} 0.0' in exposition


async def test_a_file_may_not_change_what_a_name_means(
    integration: Integration, crm: CrmDouble, tmp_path: Path
) -> None:
    crm.register("ada")
    await integration.listen()
    changed = of_routes(tmp_path, webhook(order='"subject"'))

    with pytest.raises(RoutesRefused, match=r"route shop: order can't change"):
        await integration.restarted(**changed)


async def test_a_name_that_is_gone_while_another_is_new_must_be_accepted(
    integration: Integration, crm: CrmDouble, tmp_path: Path
) -> None:
    crm.register("ada")
    await integration.listen()
    renamed = of_routes(tmp_path, webhook("store"))

    with pytest.raises(RoutesRefused, match="1 unfinished deliveries"):
        await integration.restarted(**renamed)
    routes = integration.settings.model_copy(update=renamed).read_routes()
    await integration.database.write(adoption.accept, routes)
    again = await integration.restarted(**renamed)

    states = await again.database.read(places.states)
    assert states["shop"].removed_at is not None
    assert states["store"].removed_at is None
    await again.die()


async def test_what_was_removed_before_is_not_asked_about_again(
    integration: Integration, crm: CrmDouble, tmp_path: Path
) -> None:
    crm.register("ada")
    await integration.listen()
    without = await integration.restarted(routes_file=None)

    again = await without.restarted(**of_routes(tmp_path, WELCOME, webhook("store")))

    states = await again.database.read(places.states)
    assert states["shop"].removed_at is not None
    assert states["store"].removed_at is None
    await again.die()


async def test_a_removed_route_that_comes_back_goes_on_where_it_stood(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> None:
    crm.register("ada")
    await integration.listen()
    await integration.report()
    without = await integration.restarted(routes_file=None)
    crm.register("bob")

    again = await without.restarted(**of_routes(tmp_path, WELCOME, webhook()))
    await again.listen()
    await again.report()

    assert shop.sequences == [1, 2]
    assert (await again.database.read(places.states))["shop"].removed_at is None
    await again.die()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"webhook_allow_private": False}, "may not be loopback"),
        ({}, "a webhook secret starts with whsec_"),
    ],
    ids=["address", "secret"],
)
async def test_a_webhook_that_cannot_be_one_is_refused_at_the_start(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shop: ReceiverDouble,
    changed: dict[str, Any],
    words: str,
) -> None:
    if not changed:
        monkeypatch.setenv("SHOP_SECRET", "hunter2-hunter2-hunter2")
    wrong = settings.model_copy(update=of_routes(tmp_path, webhook()) | changed)

    with pytest.raises(Refused, match=words) as refused:
        create_app(wrong)

    assert "hunter2" not in str(refused.value)
