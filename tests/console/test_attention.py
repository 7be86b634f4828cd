"""What needs a person stands in the menu, on every page, and costs next to nothing."""

import asyncio
import re
from typing import Any

import httpx
import pytest
import respx

from console import attention
from tests.console.conftest import INTEGRATION, INVENTORY, admin_calls, send, sign_in
from tests.console.test_customers import dead
from tests.crm_api.conftest import change_database

pytestmark = pytest.mark.engine("sqlite")

TO_PACK = {"status": "pending", "limit": "101"}
DEAD = {"state": "dead", "limit": "101"}


def needs_of(page: httpx.Response) -> dict[str, str]:
    """Return what the menu says, by place."""
    return dict(re.findall(r'">(\w+) <small class="need \w+">([^<]*)</small></a>', page.text))


async def test_each_place_says_what_waits_there(
    platform: httpx.AsyncClient, services: respx.MockRouter
) -> None:
    services.get(f"{INVENTORY}/package-requests", params=TO_PACK).respond(json=[{}] * 38)
    services.get(f"{INTEGRATION}/deliveries", params=DEAD).respond(json=[dead("uid-1")])
    await sign_in(platform)

    page = await platform.get("/console/customers")

    assert needs_of(page) == {"Tickets": "2 new", "Deliveries": "1 dead", "Packing": "38 to pack"}


async def test_what_is_overdue_comes_before_what_nobody_has(browser: httpx.AsyncClient) -> None:
    await change_database(browser, "UPDATE tickets SET due_at = created_at WHERE id = 1")
    await sign_in(browser, "agent")

    assert needs_of(await browser.get("/console/customers")) == {"Tickets": "1 overdue"}


async def test_where_nothing_waits_nothing_is_said(
    platform: httpx.AsyncClient, services: respx.MockRouter
) -> None:
    await change_database(platform, "UPDATE tickets SET assignee = 'maria'")
    await sign_in(platform)

    assert needs_of(await platform.get("/console/customers")) == {}


async def test_of_very_many_it_is_said_that_there_are_more(
    platform: httpx.AsyncClient, services: respx.MockRouter
) -> None:
    services.get(f"{INVENTORY}/package-requests", params=TO_PACK).respond(json=[{}] * 101)
    await sign_in(platform)

    assert needs_of(await platform.get("/console/customers"))["Packing"] == "100+ to pack"


async def test_who_may_not_see_a_place_is_not_told_of_it(
    platform: httpx.AsyncClient, services: respx.MockRouter
) -> None:
    packing = services.get(f"{INVENTORY}/package-requests", params=TO_PACK).respond(json=[{}])
    services.get(f"{INVENTORY}/me").respond(
        json={"name": "agent", "role": "agent", "scopes": ["packages:read"], "expires_at": None}
    )
    await sign_in(platform, "agent")

    assert "Packing" not in needs_of(await platform.get("/console/customers"))
    assert packing.call_count == 0


async def test_services_are_not_asked_for_each_page(
    platform: httpx.AsyncClient, services: respx.MockRouter
) -> None:
    packing = services.get(f"{INVENTORY}/package-requests", params=TO_PACK).respond(json=[{}])
    await sign_in(platform)

    for _ in range(3):
        page = await platform.get("/console/customers")
        assert needs_of(page)["Packing"] == "1 to pack"

    assert packing.call_count == 1
    assert "limit=101" not in page.text, "they are none of the commands for curl"


async def test_after_a_change_and_on_news_they_are_asked_again(
    platform: httpx.AsyncClient, services: respx.MockRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    packing = services.get(f"{INVENTORY}/package-requests", params=TO_PACK).respond(json=[{}])
    await sign_in(platform)
    await platform.get("/console/customers")

    await send(platform, "/console/tickets/1/take")
    await platform.get("/console/customers")
    assert packing.call_count == 2

    monkeypatch.setattr(attention, "SECONDS_OF_NEWS", 0.0)
    await platform.get("/console/customers", headers={"HX-Request": "true"})
    assert packing.call_count == 3


@pytest.mark.parametrize("fault", [httpx.ConnectError("refused"), httpx.Response(403, json={})])
async def test_a_service_that_does_not_say_is_left_out(
    platform: httpx.AsyncClient, services: respx.MockRouter, fault: Any
) -> None:
    asked = services.get(f"{INVENTORY}/package-requests", params=TO_PACK)
    asked.side_effect = fault if isinstance(fault, Exception) else [fault]
    await sign_in(platform)

    page = await platform.get("/console/customers")

    assert page.status_code == 200
    assert needs_of(page) == {"Tickets": "2 new"}


async def test_a_service_that_hangs_holds_up_no_page(
    platform: httpx.AsyncClient, services: respx.MockRouter
) -> None:
    async def hang(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    services.get(f"{INVENTORY}/package-requests", params=TO_PACK).side_effect = hang
    await sign_in(platform)

    async with asyncio.timeout(15):
        page = await platform.get("/console/customers")

    assert needs_of(page) == {"Tickets": "2 new"}


async def test_a_session_sees_what_its_own_token_may_see(browser: httpx.AsyncClient) -> None:
    new = {"name": "desk", "role": "agent", "scopes": ["customers:read"]}
    issued = await admin_calls(browser, "POST", "/api/tokens", json=new)
    await sign_in(browser)
    assert needs_of(await browser.get("/console/customers")) == {"Tickets": "2 new"}

    await sign_in(browser, token=issued["token"])

    assert needs_of(await browser.get("/console/customers")) == {}
