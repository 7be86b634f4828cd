"""The overview: how things are, what is wrong, and a service that is down."""

import re
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
import respx

from console import platform as services_of
from tests.console.conftest import INTEGRATION, INVENTORY, send, sign_in, text_of
from tests.console.test_customers import WHEN, dead

pytestmark = pytest.mark.engine("sqlite")

CLOSED = {
    "state": "closed",
    "opened_at": None,
    "next_probe_at": None,
    "error_class": None,
    "error": None,
}


def status(**changes: Any) -> dict[str, Any]:
    deliveries = {"pending": 2, "retrying": 0, "delivered": 40, "skipped": 1, "dead": 0}
    return {
        "feed": {"state": "running", "position": 50, "head_position": 51},
        "deliveries": {**deliveries, "undone": 0, **changes.pop("deliveries", {})},
        "circuits": {"crm": CLOSED, "inventory": CLOSED},
        "paused_at": None,
        "repair_held_back": None,
        **changes,
    }


def counted(delivered: Mapping[int, int], failed: Mapping[int, int] = {}) -> dict[str, Any]:
    """What came of a day's attempts, by the minutes in which there was something."""
    return {
        "since": "2026-01-04T12:00:00Z",
        "delivered": [delivered.get(minute, 0) for minute in range(1440)],
        "failed_attempts": [failed.get(minute, 0) for minute in range(1440)],
        "slowest_ms": 41.3 if delivered else None,
        "slowest_at": "2026-01-04T12:20:00Z" if delivered else None,
    }


@pytest.fixture
def healthy(services: respx.MockRouter) -> respx.MockRouter:
    services.get(f"{INTEGRATION}/status").respond(json=status())
    services.get(f"{INTEGRATION}/deliveries").respond(json=[])
    services.get(f"{INTEGRATION}/deliveries/per-minute").respond(json=counted({}))
    counts = {"package_requests": {"pending": 3, "shipped": 37}, "low_stock": []}
    services.get(f"{INVENTORY}/stats").respond(json=counts)
    return services


async def test_it_shows_the_way_from_the_crm_to_inventory(
    platform: httpx.AsyncClient, healthy: respx.MockRouter
) -> None:
    await sign_in(platform)

    text = text_of(await platform.get("/console"))

    for part in ("2 customers", "feed 50 of 51", "2 on the way", "40 packages", "3 to pack"):
        assert part in text
    assert "Jane Doe" in text


async def test_a_day_is_drawn_by_the_quarter_of_an_hour(
    platform: httpx.AsyncClient, healthy: respx.MockRouter
) -> None:
    day = counted({20: 3, 21: 1, 1439: 1200}, failed={22: 4})
    found = healthy.get(f"{INTEGRATION}/deliveries/per-minute").respond(json=day)
    await sign_in(platform)

    page = await platform.get("/console")

    assert found.calls.last.request.url.params["route"] == "welcome-package"
    assert "1,204 packages in 24 hours, at most 1,200 in a minute; 4 attempts failed" in page.text
    bars = re.findall(r"<rect x=[^>]*><title>[^<]*</title></rect>", page.text)
    assert [re.sub("<[^>]*>", "", bar) for bar in bars] == [
        "12:15 UTC: 4 delivered",
        "12:15 UTC: 4 failed",
        "11:45 UTC: 1,200 delivered",
    ]
    assert [' class="late"' in bar for bar in bars] == [False, True, False]
    assert 'y="0.0" width="7.0" height="60.0"' in bars[-1]
    text = text_of(page)
    assert "1,204 delivered, at most 1,200 a minute, at 11:59:00" in text
    assert "the slowest attempt took 41 ms, at 12:20:00" in text
    assert "4 failed attempts" in text


async def test_a_day_without_packages_is_not_drawn(
    platform: httpx.AsyncClient, healthy: respx.MockRouter
) -> None:
    await sign_in(platform)

    page = await platform.get("/console")

    assert "Packages, each quarter of an hour the last 24 hours None." in text_of(page)
    assert "<rect" not in page.text


async def test_it_says_what_is_wrong_and_what_to_do(
    platform: httpx.AsyncClient, healthy: respx.MockRouter
) -> None:
    opened = {**CLOSED, "state": "open", "opened_at": WHEN}
    healthy.get(f"{INTEGRATION}/status").respond(
        json=status(
            deliveries={"dead": 1}, paused_at=WHEN, circuits={"crm": CLOSED, "inventory": opened}
        )
    )
    healthy.get(f"{INTEGRATION}/deliveries").respond(json=[dead("uid-1")])
    healthy.get(f"{INVENTORY}/stats").respond(
        json={"package_requests": {}, "low_stock": ["MUG-BLUE"]}
    )
    await sign_in(platform)

    page = await platform.get("/console")

    text = text_of(page)
    assert "Jane Doe has no package." in text
    assert 'href="/console/customers/uid-1"' in page.text
    assert "Deliveries are paused." in text
    assert 'action="/console/deliveries/resume"' in page.text
    assert "The integration does not reach Inventory." in text
    assert "MUG-BLUE" in text
    assert "1 thing needs attention." in text


async def test_a_service_that_is_down_is_grey_and_says_since_when(
    platform: httpx.AsyncClient, healthy: respx.MockRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sign_in(platform)
    down = healthy.get(f"{INVENTORY}/stats").mock(side_effect=httpx.ConnectError("refused"))

    first = await platform.get("/console")
    second = await platform.get("/console")

    for page in (first, second):
        text = text_of(page)
        assert page.status_code == 200
        assert "Inventory no answer" in text
        assert "since" in text
        assert "2 customers" in text
        assert "feed 50 of 51" in text
    assert down.call_count == 1, "one that has just not answered is not asked again at once"

    monkeypatch.setattr(services_of, "REST_SECONDS", 0.0)
    await _rested(platform)
    counts = {"package_requests": {"pending": 3}, "low_stock": []}
    healthy.get(f"{INVENTORY}/stats").respond(json=counts)
    assert "3 packages" in text_of(await platform.get("/console"))


async def test_all_that_is_down_leaves_the_crm(
    platform: httpx.AsyncClient, services: respx.MockRouter
) -> None:
    services.route(host="inventory.test").mock(side_effect=httpx.ConnectTimeout("slow"))
    services.route(host="integration.test").mock(side_effect=httpx.ConnectTimeout("slow"))
    services.get(f"{INVENTORY}/me").mock(side_effect=httpx.ConnectTimeout("slow"))
    services.get(f"{INTEGRATION}/me").mock(side_effect=httpx.ConnectTimeout("slow"))

    await sign_in(platform)
    page = await platform.get("/console")

    assert page.status_code == 200
    assert text_of(page).count("no answer") == 2
    assert "/console/deliveries" in page.text, "its place stays in the menu"


async def test_without_addresses_nothing_of_the_other_services_is_shown(
    browser: httpx.AsyncClient,
) -> None:
    await sign_in(browser)

    page = await browser.get("/console")

    assert "Inventory" not in text_of(page).replace("From the CRM to Inventory", "")
    assert "/console/deliveries" not in page.text


async def test_a_clerk_of_inventory_signs_in_there(
    platform: httpx.AsyncClient, healthy: respx.MockRouter
) -> None:
    """The demo token of a clerk is Inventory's alone."""
    scopes = ["packages:read", "packages:write", "stock:read"]
    me = {"name": "clerk", "role": "clerk", "scopes": scopes, "expires_at": None}
    healthy.get(f"{INVENTORY}/me").respond(json=me)
    healthy.get(f"{INTEGRATION}/me").respond(401)
    assert (await sign_in(platform, "clerk")).status_code == 303

    page = await platform.get("/console")

    assert "40 packages" in text_of(page)
    assert "/console/customers" not in page.text
    # Once Inventory does not know it any more, the session is over.
    healthy.get(f"{INVENTORY}/me").respond(401)
    assert (await platform.get("/console")).status_code == 303


async def test_when_the_home_of_a_token_is_down_nobody_is_signed_out(
    platform: httpx.AsyncClient, healthy: respx.MockRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = {"name": "clerk", "role": "clerk", "scopes": ["stock:read"], "expires_at": None}
    healthy.get(f"{INVENTORY}/me").respond(json=me)
    healthy.get(f"{INTEGRATION}/me").respond(401)
    await sign_in(platform, "clerk")
    healthy.get(f"{INVENTORY}/me").mock(side_effect=httpx.ConnectError("refused"))

    assert (await platform.get("/console")).status_code == 503
    # A form that is sent meanwhile is shown again, though nobody says whose it is.
    kept = await send(platform, "/console/packing/move", {"tab": "pending", "chosen": "p-1"})
    assert kept.status_code == 503
    assert 'name="chosen" value="p-1"' in kept.text

    monkeypatch.setattr(services_of, "REST_SECONDS", 0.0)
    await _rested(platform)
    healthy.get(f"{INVENTORY}/me").respond(json=me)
    assert (await platform.get("/console")).status_code == 200

    healthy.get(f"{INVENTORY}/me").mock(side_effect=httpx.ConnectError("refused"))
    assert (await send(platform, "/console/sign-out")).status_code == 303
    assert (await platform.get("/console")).status_code == 303


async def test_while_the_home_of_a_token_is_down_what_works_goes_on(
    platform: httpx.AsyncClient, healthy: respx.MockRouter
) -> None:
    me = {"name": "boss", "role": "admin", "scopes": ["stock:read"], "expires_at": None}
    healthy.get(f"{INVENTORY}/me").respond(json=me)
    await sign_in(platform, token="of-the-two-others")
    healthy.get(f"{INVENTORY}/me").mock(side_effect=httpx.ConnectError("refused"))
    healthy.get(f"{INVENTORY}/stats").mock(side_effect=httpx.ConnectError("refused"))

    page = await platform.get("/console")

    assert page.status_code == 200
    assert "Inventory no answer" in text_of(page)
    assert "Integration answers" in text_of(page)
    assert "/console/stock" in page.text, "its places stay in the menu"
    assert "/console/customers" not in page.text, "the CRM does not know the token"
    stock = await platform.get("/console/stock")
    assert "Inventory does not answer" in text_of(stock)


async def test_tickets_that_are_due_next_are_a_click_away(browser: httpx.AsyncClient) -> None:
    await sign_in(browser, "agent")

    page = await browser.get("/console")

    due = page.text.partition('aria-label="Due next"')[2].partition("</ol>")[0]
    assert re.findall(r"/console/tickets/(\d+)", due) == ["1", "3", "2"]
    assert "left" in due


async def _rested(browser: httpx.AsyncClient) -> None:
    """Let the time pass for which a service that is down is not asked."""
    from tests.console.conftest import app_of

    for service in app_of(browser).state.console.site.platform.services.values():
        service._rests_until = 0.0
