"""Tokens, audit and feed: what a developer of another stack needs."""

import re

import httpx
import pytest
import respx

from tests.console.conftest import INTEGRATION, INVENTORY, admin_calls, send, sign_in, text_of

pytestmark = pytest.mark.engine("sqlite")


async def test_a_token_is_issued_shown_once_and_revoked(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)
    form = {"name": "web-shop", "role": "agent", "scope": ["customers:read"], "days": "30"}

    page = await send(browser, "/console/tokens", {**form, "key": "abc"})
    again = await send(browser, "/console/tokens", {**form, "key": "abc"})

    [token] = re.findall(r">(crm_\w{20,})<", page.text)
    assert token not in again.text
    assert token not in (await browser.get("/console/tokens")).text
    [issued] = await admin_calls(browser, "GET", "/api/tokens?limit=1&sort=-id")
    assert (issued["scopes"], issued["expires_at"] is not None) == (["customers:read"], True)
    bearer = {"Authorization": f"Bearer {token}"}
    assert (await browser.get("/api/customers", headers=bearer)).status_code == 200

    answer = await send(browser, f"/console/tokens/{issued['id']}/revoke")

    assert answer.headers["location"] == "/console/tokens?done=revoked"
    assert (await browser.get("/api/customers", headers=bearer)).status_code == 401
    assert "revoked" in text_of(await browser.get("/console/tokens"))


@pytest.mark.parametrize(
    ("form", "status", "told"),
    [
        ({"name": "", "role": "agent"}, 422, "Correct what is marked"),
        (
            {"name": "<b>", "role": "agent", "scope": "stock:write"},
            422,
            "does not have stock:write",
        ),
        ({"name": "taken", "role": "agent"}, 409, "No token was issued."),
    ],
)
async def test_a_token_that_is_refused_leaves_what_was_typed(
    browser: httpx.AsyncClient, form: dict[str, str], status: int, told: str
) -> None:
    await admin_calls(browser, "POST", "/api/tokens", json={"name": "taken", "role": "viewer"})
    await sign_in(browser)

    page = await send(browser, "/console/tokens", {**form, "days": "1"})

    assert page.status_code == status
    assert told in text_of(page)
    assert '<option value="1" selected>' in page.text
    assert "<b>" not in page.text.partition("<form")[2].partition('name="name"')[2][:100]


async def test_the_audit_is_filtered_and_goes_on(browser: httpx.AsyncClient) -> None:
    for number in range(60):
        new = {"name": f"Row {number}", "email": f"row{number}@example.com"}
        await admin_calls(browser, "POST", "/api/customers", json=new)
    await sign_in(browser)

    page = await browser.get("/console/audit?action=customer.created&actor=admin")
    [further] = re.findall(r'href="(/console/audit\?cursor=[^"]+)"', page.text)
    second = await browser.get(further.replace("&amp;", "&"))

    assert page.text.count("<td>customer.created</td>") == 50
    assert second.text.count("<td>customer.created</td>") >= 10
    assert "session.opened" in text_of(await browser.get("/console/audit"))
    refused = await browser.get("/console/audit?action=%3Cb%3E")
    assert refused.status_code == 200
    assert "must be one of" in text_of(refused).lower()


async def test_the_audit_of_a_service_that_is_down_is_a_grey_card(
    platform: httpx.AsyncClient, services: respx.MockRouter
) -> None:
    services.get(f"{INVENTORY}/audit").respond(503)
    await sign_in(platform)

    page = await platform.get("/console/audit?service=inventory")

    assert page.status_code == 200
    assert "Inventory does not answer" in text_of(page)


async def test_the_feed_shows_its_newest_events_first(browser: httpx.AsyncClient) -> None:
    for number in range(30):
        new = {"name": f"Row {number}", "email": f"row{number}@example.com"}
        await admin_calls(browser, "POST", "/api/customers", json=new)
    head = (await admin_calls(browser, "GET", "/api/events?limit=1"))["head_position"]
    await sign_in(browser)

    page = await browser.get("/console/feed")

    shown = [int(place) for place in re.findall(r'href="/console/feed/(\d+)"', page.text)]
    assert shown == list(range(head, head - 20, -1))
    one = await browser.get(f"/console/feed/{head}")
    assert "customer.created" in text_of(one)
    assert "row29@example.com" in one.text
    assert (await browser.get("/console/feed/999")).status_code == 404


async def test_the_feed_shows_routes_and_survives_without_them(
    platform: httpx.AsyncClient, services: respx.MockRouter
) -> None:
    route = {
        "name": "welcome-package",
        "on": ["customer.created"],
        "target": "inventory",
        "receiver": None,
        "paused_at": None,
        "pause_reason": None,
        "circuit": {"state": "closed"},
        "feed": {"state": "running"},
        "deliveries": {"pending": 2, "retrying": 1, "dead": 4},
    }
    listed = services.get(f"{INTEGRATION}/routes").respond(json=[route])
    await sign_in(platform)

    text = text_of(await platform.get("/console/feed"))
    assert "welcome-package customer.created inventory running 3 waiting 4 dead" in text

    listed.respond(503)
    down = await platform.get("/console/feed")
    assert down.status_code == 200
    assert "The integration does not answer" in text_of(down)


@pytest.mark.parametrize("path", ["/tokens", "/audit", "/feed", "/imports", "/packing", "/stock"])
async def test_who_lacks_the_scope_sees_no_such_place(
    browser: httpx.AsyncClient, path: str
) -> None:
    await sign_in(browser, token="viewer123")

    assert f'href="/console{path}"' not in (await browser.get("/console")).text
    assert (await browser.get(f"/console{path}")).status_code == 403
