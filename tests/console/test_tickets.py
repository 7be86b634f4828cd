"""Tickets: listed by what is due, answered, changed, and two people at one ticket."""

import re
from typing import Any

import httpx
import pytest
import respx

from tests.console.conftest import INVENTORY, admin_calls, hidden, send, sign_in, text_of
from tests.console.test_customers import package

pytestmark = pytest.mark.engine("sqlite")


def listed(page: httpx.Response) -> list[str]:
    return re.findall(r'href="/console/tickets/(\d)"', page.text)


async def test_what_is_due_first_is_listed_first(browser: httpx.AsyncClient) -> None:
    await sign_in(browser, "agent")

    page = await browser.get("/console/tickets")

    assert listed(page) == ["1", "3", "2"]  # high, normal, low
    text = text_of(page)
    assert "Jane Doe" in text
    assert len(re.findall(r"\d:\d\d left", text)) == 3


@pytest.mark.parametrize(
    ("view", "found"),
    [
        ("view=mine", ["3"]),
        ("view=unassigned", ["1"]),
        ("view=overdue", []),
        ("view=all", ["3", "2", "1"]),
        ("view=nonsense", ["1", "3", "2"]),
        ("q=parcel", ["1"]),
    ],
)
async def test_views_are_tabs(browser: httpx.AsyncClient, view: str, found: list[str]) -> None:
    await admin_calls(browser, "PATCH", "/api/tickets/3", json={"assignee": "agent"})
    await sign_in(browser, "agent")

    assert listed(await browser.get(f"/console/tickets?{view}")) == found


async def test_tabs_say_how_many_there_are(browser: httpx.AsyncClient) -> None:
    await admin_calls(browser, "PATCH", "/api/tickets/3", json={"assignee": "agent"})
    await sign_in(browser, "agent")

    text = text_of(await browser.get("/console/tickets"))

    assert "Due first Mine 1 Unassigned 1 Overdue All" in text


async def test_a_ticket_that_nobody_has_is_taken_from_the_list(browser: httpx.AsyncClient) -> None:
    await sign_in(browser, "agent")
    page = await browser.get("/console/tickets?view=unassigned")
    assert 'aria-label="Take #1"' in page.text

    answer = await send(browser, "/console/tickets/1/take", {"view": "unassigned"})

    assert answer.headers["location"] == "/console/tickets?view=unassigned&done=taken"
    page = await browser.get(answer.headers["location"])
    assert "The ticket is yours." in text_of(page)
    assert "1" not in listed(page)
    assert (await admin_calls(browser, "GET", "/api/tickets/1"))["assignee"] == "agent"
    again = await send(browser, "/console/tickets/1/take", {"view": "nonsense"})
    assert again.headers["location"] == "/console/tickets?view=due&done=taken"
    assert 'aria-label="Take #1"' not in (await browser.get("/console/tickets")).text


async def test_a_ticket_that_somebody_has_taken_meanwhile_stays_theirs(
    browser: httpx.AsyncClient,
) -> None:
    await sign_in(browser, "agent")
    await admin_calls(browser, "PATCH", "/api/tickets/1", json={"assignee": "paul"})

    answer = await send(browser, "/console/tickets/1/take")

    assert answer.status_code == 412
    assert "Someone else changed it" in text_of(answer)
    assert "paul" in text_of(answer)
    assert (await admin_calls(browser, "GET", "/api/tickets/1"))["assignee"] == "paul"


async def test_who_only_reads_tickets_takes_none(browser: httpx.AsyncClient) -> None:
    await sign_in(browser, token="viewer123")

    assert ">Take<" not in (await browser.get("/console/tickets")).text
    assert (await send(browser, "/console/tickets/1/take")).status_code == 403


async def test_a_ticket_shows_its_thread_clocks_and_customer(
    platform: httpx.AsyncClient, services: respx.MockRouter
) -> None:
    uid = (await admin_calls(platform, "GET", "/api/customers/1"))["uid"]
    services.get(f"{INVENTORY}/package-requests", params={"customer_id": uid}).respond(
        json=[package(uid)]
    )
    notes = "/api/tickets/1/notes"
    said = {"body": "Carrier says: next door.", "visibility": "internal"}
    await admin_calls(platform, "POST", notes, json=said)
    await admin_calls(
        platform, "POST", notes, json={"body": "Thanks\n\nJane", "author_kind": "customer"}
    )
    await sign_in(platform)

    page = await platform.get("/console/tickets/1")

    text = text_of(page)
    for part in ("#1 Where is my parcel?", "It was to come on Monday.", "jane@example.com"):
        assert part in text
    assert "shipped" in text
    assert "First response" in text
    assert re.search(r'class="from-us internal">.*?next door', page.text, re.DOTALL)
    assert re.search(
        r'class="from-them">\s*<small><bdi>Jane Doe.*?Thanks\n\nJane', page.text, re.DOTALL
    )


@pytest.mark.parametrize(
    ("form", "note", "status", "done"),
    [
        ({}, "public", "open", "sent"),
        ({"internal": "yes"}, "internal", "open", "sent"),
        ({"then": "pending"}, "public", "pending", "sent-pending"),
        ({"then": "resolved"}, "public", "resolved", "sent-resolved"),
        ({"then": "closed"}, "public", "open", "sent"),  # no button says that
    ],
)
async def test_a_reply_is_sent_once_and_may_set_the_status(
    browser: httpx.AsyncClient, form: dict[str, str], note: str, status: str, done: str
) -> None:
    await sign_in(browser, "agent")
    page = await browser.get("/console/tickets/1")
    typed = {"body": "We look.", "key": hidden(page, "key"), **form}

    for _ in range(2):  # somebody clicks twice
        answer = await send(browser, "/console/tickets/1/reply", typed)
        assert answer.headers["location"] == f"/console/tickets/1?done={done}"

    notes = await admin_calls(browser, "GET", "/api/tickets/1/notes")
    assert [(one["body"], one["visibility"]) for one in notes] == [("We look.", note)]
    assert (await admin_calls(browser, "GET", "/api/tickets/1"))["status"] == status


async def test_a_reply_is_kept_when_somebody_else_was_faster(browser: httpx.AsyncClient) -> None:
    await sign_in(browser, "agent")
    page = await browser.get("/console/tickets/1")
    await admin_calls(browser, "PATCH", "/api/tickets/1", json={"status": "on_hold"})

    typed = {"body": "My <long> reply", "etag": hidden(page, "etag"), "then": "resolved"}
    refused = await send(browser, "/console/tickets/1/reply", typed)

    assert refused.status_code == 412
    text = text_of(refused)
    assert "Someone else changed it" in text
    assert "admin : status open → on_hold" in text
    assert "My &lt;long&gt; reply</textarea>" in refused.text
    assert await admin_calls(browser, "GET", "/api/tickets/1/notes") == []

    again = {**typed, "etag": hidden(refused, "etag")}
    await send(browser, "/console/tickets/1/reply", again)
    assert (await admin_calls(browser, "GET", "/api/tickets/1"))["status"] == "resolved"


async def test_an_empty_reply_is_refused_beside_the_form(browser: httpx.AsyncClient) -> None:
    await sign_in(browser, "agent")

    answer = await send(browser, "/console/tickets/1/reply", {"body": " ", "internal": "yes"})

    assert answer.status_code == 422
    assert 'class="fault"' in answer.text
    assert 'value="yes" checked' in answer.text


async def test_a_ticket_is_taken_and_changed(browser: httpx.AsyncClient) -> None:
    await sign_in(browser, "agent")
    for form, name, value in (
        ({"take": "yes"}, "assignee", "agent"),
        ({"status": "in_progress"}, "status", "in_progress"),
        ({"assignee": "", "priority": "urgent"}, "priority", "urgent"),
        ({"assignee": " "}, "assignee", None),
    ):
        etag = hidden(await browser.get("/console/tickets/1"), "etag")
        answer = await send(browser, "/console/tickets/1/change", {"etag": etag, **form})
        assert answer.headers["location"] == "/console/tickets/1?done=saved"
        assert (await admin_calls(browser, "GET", "/api/tickets/1"))[name] == value


async def test_two_who_change_one_ticket_learn_of_each_other(browser: httpx.AsyncClient) -> None:
    await sign_in(browser, "agent")
    etag = hidden(await browser.get("/console/tickets/1"), "etag")
    await admin_calls(browser, "PATCH", "/api/tickets/1", json={"assignee": "paul"})

    refused = await send(browser, "/console/tickets/1/change", {"etag": etag, "take": "yes"})

    assert refused.status_code == 412
    assert "assignee nothing → paul" in text_of(refused)
    assert "Do mine all the same" in text_of(refused)
    form: dict[str, Any] = {
        "etag": hidden(refused, "etag"),
        "assignee": hidden(refused, "assignee"),
    }
    await send(browser, "/console/tickets/1/change", form)
    assert (await admin_calls(browser, "GET", "/api/tickets/1"))["assignee"] == "agent"


async def test_a_ticket_is_opened_for_a_customer(browser: httpx.AsyncClient) -> None:
    await sign_in(browser, "agent")
    form = await browser.get("/console/tickets/new?customer_id=2")
    assert "For John Smith" in text_of(form)

    wrong = {"customer_id": "2", "subject": "", "description": "Kept <b>", "priority": "high"}
    refused = await send(browser, "/console/tickets/new", wrong)
    assert refused.status_code == 422
    assert "Kept &lt;b&gt;</textarea>" in refused.text
    assert "<option selected>high" in refused.text
    done = await send(
        browser, "/console/tickets/new", {**wrong, "subject": "News", "key": hidden(refused, "key")}
    )

    assert done.headers["location"] == "/console/tickets/4?done=opened"
    ticket = await admin_calls(browser, "GET", "/api/tickets/4")
    assert (ticket["customer_id"], ticket["priority"], ticket["assignee"]) == (2, "high", None)


@pytest.mark.parametrize("number", ["", "0", "abc", "999", "1" * 18])
async def test_a_ticket_for_nobody_is_refused(browser: httpx.AsyncClient, number: str) -> None:
    await sign_in(browser, "agent")

    new = {"customer_id": number, "subject": "News", "description": "Text"}
    answer = await send(browser, "/console/tickets/new", new)

    assert answer.status_code in {404, 422}
    assert 'value="News"' in answer.text


@pytest.mark.parametrize("number", ["999", "abc", "0", "9" * 30])
async def test_a_ticket_that_is_not_there_is_a_page(
    browser: httpx.AsyncClient, number: str
) -> None:
    await sign_in(browser, "agent")

    assert (await browser.get(f"/console/tickets/{number}")).status_code in {404, 422}


async def test_a_closed_ticket_offers_no_reply(browser: httpx.AsyncClient) -> None:
    await admin_calls(browser, "PATCH", "/api/tickets/1", json={"status": "closed"})
    await sign_in(browser, "agent")

    page = await browser.get("/console/tickets/1")

    assert "This ticket is closed." in text_of(page)
    assert "/reply" not in page.text


async def test_who_only_reads_is_offered_no_change(browser: httpx.AsyncClient) -> None:
    await sign_in(browser, token="viewer123")

    page = await browser.get("/console/tickets/1")

    assert "It was to come on Monday." in text_of(page)
    assert 'method="post" action="/console/tickets' not in page.text
    assert (await send(browser, "/console/tickets/1/reply", {"body": "x"})).status_code == 403
