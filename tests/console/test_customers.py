"""The pages of customers: what they show, and what their forms do."""

import re
from typing import Any

import httpx
import pytest
import respx

from console.site import DONE
from tests.console.conftest import (
    INTEGRATION,
    INVENTORY,
    admin_calls,
    hidden,
    send,
    sign_in,
    text_of,
)

pytestmark = pytest.mark.engine("sqlite")

WHEN = "2026-01-05T12:00:00Z"
ADA = {"name": "Ada Example", "email": "ada@example.com"}


async def test_customers_are_listed_newest_first_and_searched(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)

    page = await browser.get("/console/customers")
    assert re.findall(r'href="/console/customers/(\d)"', page.text) == ["2", "1"]
    found = await browser.get("/console/customers?q=jane")
    assert re.findall(r'href="/console/customers/(\d)"', found.text) == ["1"]
    assert "Nobody is found." in text_of(await browser.get("/console/customers?q=nobody"))


async def test_a_long_list_goes_on(browser: httpx.AsyncClient) -> None:
    batch = [{"name": f"Row {n}", "email": f"row{n}@example.com"} for n in range(60)]
    await admin_calls(browser, "POST", "/api/customers/batch", json=batch)
    await sign_in(browser)

    first = await browser.get("/console/customers?q=row")
    [further] = re.findall(r'href="(/console/customers\?cursor=[^"]+)"', first.text)
    second = await browser.get(further.replace("&amp;", "&"))

    names = [re.findall(r">(Row \d+)<", page.text) for page in (first, second)]
    assert [len(found) for found in names] == [50, 10]
    assert len(set(names[0] + names[1])) == 60
    assert "Next page" not in text_of(second)


async def test_a_customer_is_registered_once_however_often_one_clicks(
    browser: httpx.AsyncClient,
) -> None:
    await sign_in(browser, "agent")
    form = {**ADA, "company": "", "key": hidden(await browser.get("/console/customers/new"), "key")}

    first = await send(browser, "/console/customers/new", form)
    again = await send(browser, "/console/customers/new", form)

    assert first.headers["location"] == again.headers["location"]
    page = await browser.get(first.headers["location"])
    assert DONE["registered"] in text_of(page)
    assert "Ada Example" in text_of(page)


async def test_what_the_api_refuses_is_said_beside_what_was_typed(
    browser: httpx.AsyncClient,
) -> None:
    await sign_in(browser, "agent")

    wrong = await send(
        browser, "/console/customers/new", {"name": "Ada", "email": "nonsense", "phone": "12"}
    )
    assert wrong.status_code == 422
    assert 'value="nonsense"' in wrong.text
    assert 'value="12"' in wrong.text
    assert re.search(r'id="email-fault" class="fault">[^<]*e-?mail', wrong.text, re.IGNORECASE)

    taken = await send(
        browser, "/console/customers/new", {"name": "Ada", "email": "jane@example.com"}
    )
    assert taken.status_code == 409
    assert "/console/customers/1" in taken.text


async def test_a_customer_is_changed(browser: httpx.AsyncClient) -> None:
    await sign_in(browser, "agent")
    form = await browser.get("/console/customers/1/edit")
    assert 'value="Jane Doe"' in form.text

    changed = {"etag": hidden(form, "etag"), **ADA, "company": "Night Ltd"}
    answer = await send(browser, "/console/customers/1/edit", changed)

    assert answer.headers["location"] == "/console/customers/1?done=saved"
    customer = await admin_calls(browser, "GET", "/api/customers/1")
    assert (customer["name"], customer["company"], customer["phone"]) == (
        "Ada Example",
        "Night Ltd",
        None,
    )


async def test_a_postal_address_is_typed_line_by_line(browser: httpx.AsyncClient) -> None:
    await sign_in(browser, "agent")
    typed = {"lines": "12 Harbour Road\r\n\r\n Flat 3 ", "postal_code": "T12 X8N6", "city": "Cork"}
    form = await browser.get("/console/customers/1/edit")
    mine = {**ADA, **typed, "etag": hidden(form, "etag")}

    refused = await send(browser, "/console/customers/1/edit", mine)
    assert refused.status_code == 422
    assert 'id="country-fault"' in refused.text
    assert "12 Harbour Road\nFlat 3</textarea>" in refused.text
    await send(browser, "/console/customers/1/edit", {**mine, "country": "ie"})

    customer = await admin_calls(browser, "GET", "/api/customers/1")
    assert customer["address"] == {
        "lines": ["12 Harbour Road", "Flat 3"],
        "postal_code": "T12 X8N6",
        "city": "Cork",
        "region": None,
        "country": "IE",
    }
    page = await browser.get("/console/customers/1")
    assert "12 Harbour Road, Flat 3, T12 X8N6 Cork, IE" in text_of(page)
    form = await browser.get("/console/customers/1/edit")
    await send(browser, "/console/customers/1/edit", {**ADA, "etag": hidden(form, "etag")})
    assert (await admin_calls(browser, "GET", "/api/customers/1"))["address"] is None


async def test_two_who_change_one_customer_learn_of_each_other(browser: httpx.AsyncClient) -> None:
    await sign_in(browser, "agent")
    etag = hidden(await browser.get("/console/customers/1/edit"), "etag")
    await admin_calls(browser, "PATCH", "/api/customers/1", json={"company": "Of others"})

    mine = {"etag": etag, **ADA, "company": "Of mine"}
    refused = await send(browser, "/console/customers/1/edit", mine)

    assert refused.status_code == 412
    assert "Someone else changed it" in text_of(refused)
    assert "Of others" in text_of(refused)
    assert 'value="Of mine"' in refused.text
    assert (await admin_calls(browser, "GET", "/api/customers/1"))["company"] == "Of others"

    await send(browser, "/console/customers/1/edit", {**mine, "etag": hidden(refused, "etag")})
    assert (await admin_calls(browser, "GET", "/api/customers/1"))["company"] == "Of mine"


async def test_a_customer_is_erased_as_it_was_shown(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)
    etag = hidden(await browser.get("/console/customers/1/erase"), "etag")
    await admin_calls(browser, "PATCH", "/api/customers/1", json={"company": "News"})

    refused = await send(browser, "/console/customers/1/erase", {"etag": etag})
    assert refused.status_code == 412
    assert "Look again" in text_of(refused)
    done = await send(browser, "/console/customers/1/erase", {"etag": hidden(refused, "etag")})

    assert done.headers["location"] == "/console/customers?done=erased"
    left = await browser.get("/console/customers/1")
    assert "Erased customer" in text_of(left)
    assert "/console/customers/1/e" not in left.text


async def test_a_customer_that_is_not_there_is_a_page(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)

    answer = await browser.get("/console/customers/77")

    assert answer.status_code == 404
    assert "Not found" in text_of(answer)
    assert 'aria-label="Places"' in answer.text


async def test_a_dead_delivery_is_told_with_what_can_be_done(
    platform: httpx.AsyncClient, services: respx.MockRouter
) -> None:
    uid = (await admin_calls(platform, "GET", "/api/customers/1"))["uid"]
    services.get(f"{INTEGRATION}/deliveries/{uid}").respond(json=dead(uid))
    services.get(f"{INVENTORY}/package-requests", params={"customer_id": uid}).respond(
        json=[package(uid)]
    )
    await sign_in(platform)

    page = await platform.get(f"/console/customers/{uid}")

    text = text_of(page)
    assert "Inventory has one under another name." in text
    assert "1 \N{MULTIPLICATION SIGN} WELCOME-CARD" in text
    assert "Tried, refused, 47 ms" in text
    assert f'action="/console/deliveries/{uid}/retry"' in page.text
    assert f"/console/deliveries/{uid}#dismiss" in page.text
    assert f"curl -H &#34;Authorization: Bearer $TOKEN&#34; {INTEGRATION}/deliveries/{uid}" in (
        page.text
    )
    assert "admin123" not in page.text


async def test_a_package_that_was_requested_otherwise_is_told_in_plain_words(
    platform: httpx.AsyncClient, services: respx.MockRouter
) -> None:
    error = "it answered 409: Requested before with another name. request_id is that request's."
    problem = {"type": "urn:problem:package-request-conflict", "request_id": "p-1"}
    refused = {**dead("uid"), "error": error, "problem": problem}
    services.get(url__startswith=f"{INTEGRATION}/deliveries/").respond(json=refused)
    services.get(f"{INVENTORY}/package-requests").respond(json=[])
    await sign_in(platform)

    text = text_of(await platform.get("/console/customers/1"))

    assert "Inventory has a package for this customer already" in text
    assert "Inventory answered 409: Requested before with another name." in text
    assert "request_id" not in text


async def test_who_may_not_operate_sees_it_and_is_offered_nothing(
    platform: httpx.AsyncClient, services: respx.MockRouter
) -> None:
    uid = (await admin_calls(platform, "GET", "/api/customers/1"))["uid"]
    services.get(f"{INTEGRATION}/me").respond(
        json={"name": "agent", "role": "agent", "scopes": ["sync:read"], "expires_at": None}
    )
    services.get(f"{INTEGRATION}/deliveries/{uid}").respond(json=dead(uid))
    services.get(f"{INVENTORY}/package-requests").respond(json=[])
    await sign_in(platform, "agent")

    page = await platform.get("/console/customers/1")

    assert "Inventory has one under another name." in text_of(page)
    assert "/retry" not in page.text


async def test_a_service_that_is_down_takes_nothing_else_along(
    platform: httpx.AsyncClient, services: respx.MockRouter
) -> None:
    services.get(f"{INVENTORY}/package-requests").mock(side_effect=httpx.ConnectError("down"))
    services.get(f"{INTEGRATION}/deliveries", path__startswith="/deliveries/").respond(502)
    services.get(url__startswith=f"{INTEGRATION}/deliveries/").respond(502)
    await sign_in(platform)

    page = await platform.get("/console/customers/1")

    text = text_of(page)
    assert page.status_code == 200
    assert "Inventory does not answer, since" in text
    assert "The integration does not answer, since" in text
    assert "jane@example.com" in text


async def test_one_search_leads_to_what_it_names(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)
    uid = (await admin_calls(browser, "GET", "/api/customers/2"))["uid"]
    for text, place in (
        ("jane@example.com", "/customers/1"),
        ("JANE@example.com ", "/customers/1"),
        (uid, "/customers/2"),
        (uid.upper(), "/customers/2"),
        ("john sm", "/customers/2"),
        ("#1", "/tickets/1"),
        ("2", "/tickets/2"),
        ("", "/"),
    ):
        answer = await browser.get("/console/search", params={"q": text})
        assert answer.headers.get("location") == f"/console{place}", text

    new = await browser.post(
        "/api/customers", json=ADA, headers={"Authorization": "Bearer admin123"}
    )
    made = await browser.get("/console/search", params={"q": new.headers["x-request-id"]})
    assert made.headers["location"] == f"/console/customers/{new.json()['uid']}"

    both = await browser.get("/console/search", params={"q": "example.com"})
    assert both.status_code == 200
    assert {"Jane Doe", "John Smith"} <= set(re.findall(r"<bdi>([^<]+)</bdi>", both.text))
    nobody = await browser.get("/console/search", params={"q": "nobody at all"})
    assert "Nobody." in text_of(nobody)


def dead(uid: str) -> dict[str, Any]:
    error = "Inventory has one under another name."
    attempt = {"at": WHEN, "status": 409, "duration_ms": 47.0}
    return {
        "route": "welcome-package",
        "customer_uid": uid,
        "customer_name": "Jane Doe",
        "state": "dead",
        "skip_reason": None,
        "attempt_count": 1,
        "next_attempt_at": None,
        "request_id": None,
        "error_class": "refused",
        "error": error,
        "created_at": WHEN,
        "updated_at": WHEN,
        "delivered_at": None,
        "problem": None,
        "raw": None,
        "traceparent": None,
        "held_because": None,
        "dismissed_at": None,
        "dismissed_by": None,
        "dismissed_reason": None,
        "attempts": [{**attempt, "error_class": "refused", "error": error}],
    }


def package(uid: str) -> dict[str, Any]:
    return {
        "request_id": "019a5d3d-10f2-7d52-8f4e-7f0b6f2f9c3a",
        "customer_id": uid,
        "package_type": "welcome_package",
        "occurrence": 1,
        "customer_name": "N. Night",
        "note": None,
        "status": "shipped",
        "to_unpack": False,
        "lines": [{"sku": "WELCOME-CARD", "quantity": 1}],
        "created_at": WHEN,
        "updated_at": WHEN,
    }
