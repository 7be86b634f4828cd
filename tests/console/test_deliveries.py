"""Deliveries: listed, grouped by how they failed, retried, dismissed and compared."""

import json
import re
from typing import Any

import httpx
import pytest
import respx

from console.site import DONE
from tests.console.conftest import INTEGRATION, send, sign_in, text_of
from tests.console.test_customers import WHEN, dead
from tests.console.test_overview import status

pytestmark = pytest.mark.engine("sqlite")

NUMBERS = dict.fromkeys(
    ("extra", "double", "erased", "waiting", "skipped", "not_owed", "repaired", "held_back"), 0
)
RUN = {
    "id": 1,
    "trigger": "api",
    "repair": False,
    "state": "finished",
    "started_at": WHEN,
    "finished_at": WHEN,
    "customers": 40,
    "packages": 39,
    "missing": 1,
    **NUMBERS,
    "findings": {"missing": ["uid-9"]},
    "error": None,
}


@pytest.fixture
def integration(services: respx.MockRouter) -> respx.MockRouter:
    counts = {"dead": 2, "retrying": 1}
    services.get(f"{INTEGRATION}/status").respond(json=status(deliveries=counts))
    services.get(f"{INTEGRATION}/reconcile").respond(json={"running": None, "last": None})
    return services


def sent_to(route: respx.Route) -> Any:
    return json.loads(route.calls.last.request.content)


async def test_what_somebody_should_look_at_comes_first_in_groups(
    platform: httpx.AsyncClient, integration: respx.MockRouter
) -> None:
    unreadable = {**dead("uid-2"), "customer_name": None, "error_class": "unreadable"}
    listed = integration.get(f"{INTEGRATION}/deliveries").respond(json=[dead("uid-1"), unreadable])
    await sign_in(platform)

    page = await platform.get("/console/deliveries")

    assert listed.calls.last.request.url.params["state"] == "dead"
    text = text_of(page)
    assert "Dead 2" in text
    assert "Refused by Inventory 1" in text
    assert "The event can't be read 1" in text
    assert page.text.count("error_class=") == 1, "what can't be read can't be retried"


async def test_another_state_is_one_list_that_goes_on(
    platform: httpx.AsyncClient, integration: respx.MockRouter
) -> None:
    row = {**dead("uid-1"), "state": "delivered", "error": None, "error_class": None}
    listed = integration.get(f"{INTEGRATION}/deliveries").respond(
        json=[row], headers={"X-Next-Cursor": "abc"}
    )
    await sign_in(platform)

    page = await platform.get("/console/deliveries?state=delivered&cursor=before")

    asked = listed.calls.last.request.url.params
    assert (asked["state"], asked["cursor"], asked["sort"]) == ("delivered", "before", "-id")
    assert "/console/deliveries?cursor=abc&amp;state=delivered" in page.text


async def test_a_search_looks_in_all_states(
    platform: httpx.AsyncClient, integration: respx.MockRouter
) -> None:
    listed = integration.get(f"{INTEGRATION}/deliveries").respond(json=[dead("uid-1")])
    await sign_in(platform)

    await platform.get("/console/deliveries?q=Doe")

    asked = listed.calls.last.request.url.params
    assert asked["q"] == "Doe"
    assert "state" not in asked


async def test_a_retry_of_many_is_shown_before_it_is_done(
    platform: httpx.AsyncClient, integration: respx.MockRouter
) -> None:
    found = {"dry_run": True, "matched": 2, "retried": 2, "customer_uids": ["uid-1", "uid-2"]}
    retry = integration.post(f"{INTEGRATION}/deliveries/retry").respond(json=found)
    await sign_in(platform)

    page = await platform.get("/console/deliveries/retry?state=dead&error_class=refused")

    order = {"state": "dead", "error_class": "refused"}
    assert sent_to(retry) == {**order, "dry_run": True}
    assert "Retry 2 deliveries?" in text_of(page)
    assert "/console/deliveries/uid-2" in page.text

    answer = await send(platform, "/console/deliveries/retry", order)

    assert sent_to(retry) == order
    address = answer.headers["location"]
    assert address == "/console/deliveries?state=retrying&number=2&done=retried-many"
    assert "Sent again: 2." in text_of(await platform.get(address))
    forged = await platform.get(address.replace("number=2", "number=2%20of%20your%20last"))
    assert "Sent again: some." in text_of(forged)


async def test_a_retry_takes_no_other_state(
    platform: httpx.AsyncClient, integration: respx.MockRouter
) -> None:
    found = {"dry_run": True, "matched": 0, "retried": 0, "customer_uids": []}
    retry = integration.post(f"{INTEGRATION}/deliveries/retry").respond(json=found)
    await sign_in(platform)

    await platform.get("/console/deliveries/retry?state=delivered&error_class=unreadable")

    assert sent_to(retry) == {"state": "dead", "dry_run": True}


async def test_a_delivery_shows_every_attempt_and_is_dismissed_with_a_reason(
    platform: httpx.AsyncClient, integration: respx.MockRouter
) -> None:
    integration.get(f"{INTEGRATION}/deliveries/uid-1").respond(json=dead("uid-1"))
    dismiss = integration.post(f"{INTEGRATION}/deliveries/uid-1/dismiss").respond(json={})
    await sign_in(platform)

    page = await platform.get("/console/deliveries/uid-1")
    assert "Inventory has one under another name." in text_of(page)
    assert "47 ms" in text_of(page)
    answer = await send(platform, "/console/deliveries/uid-1/dismiss", {"reason": "By hand"})

    assert sent_to(dismiss) == {"reason": "By hand"}
    assert answer.headers["location"] == "/console/deliveries/uid-1?done=dismissed"
    assert DONE["dismissed"] in text_of(await platform.get(answer.headers["location"]))


async def test_attempts_stand_on_an_axis_of_time(
    platform: httpx.AsyncClient, integration: respx.MockRouter
) -> None:
    failed = {"status": 503, "error_class": "transient", "error": "it answered 503"}
    trace = "0af7651916cd43dd8448eb211c80319c"
    waits = {
        **dead("uid-1"),
        "state": "retrying",
        "held_because": "circuit",
        "traceparent": f"00-{trace}-b7ad6b7169203331-01",
        "created_at": "2026-01-05T12:00:00Z",
        "next_attempt_at": "2026-01-05T13:00:00Z",
        "attempts": [
            {"at": "2026-01-05T12:00:00Z", "duration_ms": 3000.0, **failed, "status": None},
            {"at": "2026-01-05T12:30:00Z", "duration_ms": 1500.0, **failed},
        ],
    }
    integration.get(f"{INTEGRATION}/deliveries/uid-1").respond(json=waits)
    await sign_in(platform)

    page = await platform.get("/console/deliveries/uid-1")

    assert 'aria-label="2 attempts, of which 2 failed; another one is to come"' in page.text
    bars = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" [^>]*class="late"><title>(.*?)<', page.text)
    assert bars == [
        ("0.0", "0.0", "2026-01-05 12:00:00 UTC: no answer, 3,000 ms"),
        ("477.0", "30.0", "2026-01-05 12:30:00 UTC: 503, 1,500 ms"),
    ]
    assert 'class="next" x1="957.0"' in page.text
    text = text_of(page)
    assert "held back: its target does not answer" in text
    assert f"trace {trace}" in text


async def test_what_was_tried_once_or_never_has_no_axis(
    platform: httpx.AsyncClient, integration: respx.MockRouter
) -> None:
    fresh = {**dead("uid-1"), "state": "pending", "attempts": []}
    integration.get(f"{INTEGRATION}/deliveries/uid-1").respond(json=fresh)
    integration.get(f"{INTEGRATION}/deliveries/uid-2").respond(json=dead("uid-2"))
    await sign_in(platform)

    never = await platform.get("/console/deliveries/uid-1")
    once = await platform.get("/console/deliveries/uid-2")

    assert "Not tried yet." in text_of(never)
    assert "47 ms" in text_of(once)
    assert 'class="plot"' not in never.text + once.text


async def test_a_reason_that_is_refused_is_kept(
    platform: httpx.AsyncClient, integration: respx.MockRouter
) -> None:
    integration.get(f"{INTEGRATION}/deliveries/uid-1").respond(json=dead("uid-1"))
    problem = {"type": "urn:problem:invalid-request", "detail": "The request does not match."}
    integration.post(f"{INTEGRATION}/deliveries/uid-1/dismiss").respond(422, json=problem)
    await sign_in(platform)

    answer = await send(platform, "/console/deliveries/uid-1/dismiss", {"reason": "\u200b & <b>"})

    assert answer.status_code == 422
    assert "The request does not match." in text_of(answer)
    assert 'value="\u200b &amp; &lt;b&gt;"' in answer.text


async def test_a_reason_is_kept_where_the_integration_does_not_answer(
    platform: httpx.AsyncClient, integration: respx.MockRouter
) -> None:
    path = "/console/deliveries/uid-1/dismiss"
    integration.post(f"{INTEGRATION}/deliveries/uid-1/dismiss").respond(502)
    await sign_in(platform)

    answer = await send(platform, path, {"reason": "She has <one>.\nReally."})

    assert answer.status_code == 503
    assert "The integration does not answer" in text_of(answer)
    assert f'action="{path}"' in answer.text
    assert "She has &lt;one&gt;.\nReally.</textarea>" in answer.text


@pytest.mark.parametrize(
    ("form", "called"),
    [
        ("/console/deliveries/pause", "/pause"),
        ("/console/deliveries/resume", "/resume"),
        ("/console/deliveries/poll", "/poll"),
        ("/console/deliveries/uid-1/retry", "/deliveries/uid-1/retry"),
    ],
)
async def test_buttons_call_the_api(
    platform: httpx.AsyncClient, integration: respx.MockRouter, form: str, called: str
) -> None:
    route = integration.post(f"{INTEGRATION}{called}").respond(json={})
    await sign_in(platform)

    answer = await send(platform, form)

    assert answer.status_code == 303
    assert route.calls.last.request.headers["authorization"] == "Bearer admin123"


@pytest.mark.parametrize(
    ("form", "order"),
    [
        ({}, {"repair": False, "confirm": False}),
        ({"repair": "yes"}, {"repair": True, "confirm": False}),
        ({"repair": "yes", "confirm": "yes"}, {"repair": True, "confirm": True}),
    ],
)
async def test_both_sides_are_compared(
    platform: httpx.AsyncClient,
    integration: respx.MockRouter,
    form: dict[str, str],
    order: dict[str, bool],
) -> None:
    compare = integration.post(f"{INTEGRATION}/reconcile").respond(202, json={})
    await sign_in(platform)

    answer = await send(platform, "/console/deliveries/compare", form)

    assert sent_to(compare) == order
    assert answer.headers["location"] == "/console/deliveries?done=comparing"


async def test_a_comparison_that_runs_already_is_no_fault(
    platform: httpx.AsyncClient, integration: respx.MockRouter
) -> None:
    problem = {"type": "urn:problem:reconcile-running", "detail": "A comparison runs."}
    integration.post(f"{INTEGRATION}/reconcile").respond(409, json=problem)
    await sign_in(platform)

    assert (await send(platform, "/console/deliveries/compare")).status_code == 303


async def test_what_a_comparison_has_found_is_named(
    platform: httpx.AsyncClient, integration: respx.MockRouter
) -> None:
    integration.get(f"{INTEGRATION}/deliveries").respond(json=[])
    last = {**RUN, "held_back": 30}
    integration.get(f"{INTEGRATION}/reconcile").respond(json={"running": None, "last": last})
    await sign_in(platform)

    page = await platform.get("/console/deliveries")

    assert "/console/customers/uid-9" in page.text
    assert "30 packages were not sent." in text_of(page)
    assert "Compare, and send what is missing" in text_of(page)


async def test_a_comparison_that_runs_is_looked_at_again(
    platform: httpx.AsyncClient, integration: respx.MockRouter
) -> None:
    integration.get(f"{INTEGRATION}/deliveries").respond(json=[])
    running = {**RUN, "state": "running", "finished_at": None}
    integration.get(f"{INTEGRATION}/reconcile").respond(json={"running": running, "last": None})
    await sign_in(platform)

    page = await platform.get("/console/deliveries")

    assert 'hx-trigger="every 2s"' in page.text
    assert "Compare now" not in text_of(page)


async def test_with_the_integration_down_the_page_says_so(
    platform: httpx.AsyncClient, integration: respx.MockRouter
) -> None:
    for path in ("status", "reconcile", "deliveries"):
        integration.get(f"{INTEGRATION}/{path}").mock(side_effect=httpx.ReadTimeout("slow"))
    await sign_in(platform)

    page = await platform.get("/console/deliveries")

    assert page.status_code == 200
    assert "The integration does not answer, since" in text_of(page)
    answer = await send(platform, "/console/deliveries/pause")
    assert answer.status_code == 503
    assert "The integration does not answer" in text_of(answer)
