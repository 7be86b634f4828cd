"""The console as a process of its own, which calls all services over HTTP."""

import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import bearer
from tests.system.processes import end, until
from tests.system.stack import Server, Stack

pytestmark = [pytest.mark.slow, pytest.mark.engine("sqlite")]


@pytest.fixture
def console(stack: Stack) -> Server:
    """A console beside a CRM that has none."""
    console = stack.add_console()
    stack.crm.start(SEED_DEMO_DATA="true", CONSOLE="false")
    stack.inventory.start()
    console.start()
    for server in (stack.crm, stack.inventory, console):
        server.wait_until_ready()
    return console


@pytest.fixture
def browser(console: Server) -> Iterator[httpx.Client]:
    own_page = {"Sec-Fetch-Site": "same-origin"}
    with httpx.Client(
        base_url=console.url, headers=own_page, timeout=15, trust_env=False
    ) as browser:
        yield browser


def sign_in(browser: httpx.Client, **form: Any) -> None:
    answer = browser.post("/console/sign-in", data=form)
    assert answer.status_code == 303, answer.text


@pytest.mark.timeout(120)
def test_people_work_in_it_as_in_the_one_of_the_crm(
    stack: Stack, console: Server, browser: httpx.Client
) -> None:
    assert browser.get("/", headers={"Accept": "text/html"}).headers["location"] == "/console"
    sign_in(browser, role="agent")

    overview = browser.get("/console")
    assert "Jane Doe" in overview.text
    assert "No answer" not in overview.text
    new = {"name": "Ada Example", "email": "ada@example.com"}
    made = browser.post("/console/customers/new", data=new)
    assert made.status_code == 303
    assert "Ada Example" in browser.get(made.headers["location"]).text
    assert f"{stack.crm.url}/api/customers" in overview.text, "commands name the services"

    console.end(signal.SIGTERM)
    console.restart()
    assert browser.get("/console").status_code == 200, "sessions outlive the process"
    [(owner, sealed)] = console.rows("SELECT owner, sealed FROM console_sessions")
    assert owner == "agent"
    assert b"agent123" not in sealed
    assert browser.get("/console/link?code=x").status_code == 410

    browser.post("/console/sign-out-everywhere")
    assert console.rows("SELECT id FROM console_sessions") == []
    assert stack.bugs() == []


@pytest.mark.timeout(120)
def test_it_is_told_of_news_and_stops_at_once(
    stack: Stack, console: Server, browser: httpx.Client
) -> None:
    sign_in(browser, role="agent")
    with browser.stream("GET", "/console/live") as stream:
        lines = stream.iter_lines()
        until(lambda: next(lines) == "event: news", "it is told how things are")
        new = {"name": "Ada", "email": "ada@example.com"}
        stack.client.post(
            f"{stack.crm.url}/api/customers", json=new, headers=bearer("agent123")
        ).raise_for_status()
        until(lambda: next(lines) == "event: news", "it is told of a customer")
        assert console.process is not None
        code = end(console.process, signal.SIGTERM)
        assert not [line for line in lines if line.startswith("event")]

    assert code == 0
    assert "graceful shutdown exceeded" not in console.logged()
    assert stack.bugs() == []


@pytest.mark.timeout(120)
def test_a_crm_that_is_down_is_said_so(
    stack: Stack, console: Server, browser: httpx.Client
) -> None:
    sign_in(browser, role="agent")
    stack.crm.end()

    assert "The CRM does not answer" in browser.get("/console").text
    page = browser.get("/console/customers")
    assert page.status_code == 503
    assert "The CRM does not answer" in page.text

    stack.crm.restart()
    until(lambda: browser.get("/console/customers").status_code == 200, "it is seen to be back")
    assert stack.bugs() == []


@pytest.mark.timeout(120)
def test_who_is_known_at_inventory_alone_works_there(
    stack: Stack, console: Server, browser: httpx.Client
) -> None:
    sign_in(browser, role="clerk")

    packing = browser.get("/console/packing")

    assert packing.status_code == 200
    assert "Packing" in packing.text
    assert "/console/customers" not in packing.text
    assert browser.get("/console/customers").status_code == 403
    assert stack.bugs() == []
