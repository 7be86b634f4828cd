"""The console where services stop under it: two processes of each, on PostgreSQL.

One console is in the CRM, one stands apart. Whatever is down, each page says so in words, what was
typed is there to be sent again and is done once, and what works goes on working.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from html import unescape
from html.parser import HTMLParser
from typing import Any, NamedTuple

import httpx
import pytest

from tests.conftest import bearer
from tests.system.balancer import Balancer
from tests.system.processes import until
from tests.system.stack import Server, Stack

pytestmark = [pytest.mark.long, pytest.mark.engine("postgresql")]

# For how long a process here believes what it knows, so that nobody waits for longer.
SHORTENED = {
    "console.platform:REST_SECONDS": 0.2,
    "console.attention:SECONDS": 0.0,
    "crm_api.tokens.known:MAX_AGE_SECONDS": 0.3,
    "service_kit.web.introspection:BELIEVED_SECONDS": 0.3,
}
# Each page, with the services that it can't be whole without.
PAGES = {
    "": {"crm", "inventory", "integration"},
    "/customers": {"crm"},
    "/customers/1": {"crm", "inventory", "integration"},
    "/customers/new": set(),
    "/tickets": {"crm"},
    "/tickets/1": {"crm", "inventory"},
    "/tickets/new": set(),
    "/search?q=example": {"crm"},
    "/deliveries": {"integration"},
    "/packing": {"inventory"},
    "/stock": {"inventory"},
    "/stock/items/MUG-BLUE": {"inventory"},
    "/stock/verify": {"inventory"},
    "/imports": {"crm"},
    "/tokens": {"crm"},
    "/feed": {"crm", "integration"},
    "/audit": {"crm"},
}
NAMES = {"crm": "The CRM", "inventory": "Inventory", "integration": "The integration"}
DOWN = re.compile(r"(The CRM|Inventory|The integration) does not answer|no answer")


class Kept(HTMLParser):
    """The form of a page that says that something could not be sent."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.path = ""
        self.fields: dict[str, str] = {}
        self._area = ""
        main = page.partition('<main class="')[2]
        self.feed(main.partition("<form method")[1] + main.partition("<form method")[2])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.path = given["action"]
        elif tag == "input":
            self.fields[given["name"]] = given["value"]
        elif tag == "textarea":
            self._area = given["name"]
            self.fields[self._area] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._area = ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self.fields[self._area] += data.removeprefix("\n")


@dataclass
class Platform:
    """Two processes of each service, and a browser at each of two consoles."""

    stack: Stack
    of: dict[str, list[Server]]
    browsers: list[httpx.Client]
    # Customers whose delivery is dead, one for each browser.
    dead: list[str]

    def look(self, browser: httpx.Client) -> dict[str, str]:
        """Look at each page. Returns those that say of something that it is down, with the text."""
        found = {}
        for path in PAGES:
            page = browser.get(f"/console{path}")
            assert page.status_code in {200, 503}, (path, page.status_code, page.text)
            if DOWN.search(text := text_of(page)):
                found[path] = text
            else:
                assert page.status_code == 200, text
        return found

    def is_whole(self, browser: httpx.Client) -> bool:
        return not self.look(browser)

    def wait_until_whole(self) -> None:
        for browser in self.browsers:
            until(partial(self.is_whole, browser), "all pages are whole", seconds=60)


def text_of(page: httpx.Response) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", page.text)))


@contextmanager
def opened(url: str, **form: str) -> Iterator[httpx.Client]:
    """Sign in at a console, with a new browser."""
    own_page = {"Sec-Fetch-Site": "same-origin"}
    with httpx.Client(base_url=url, headers=own_page, timeout=30, trust_env=False) as browser:
        sign_in(browser, **form)
        yield browser


def sign_in(browser: httpx.Client, **form: str) -> None:
    answer = browser.post("/console/sign-in", data=form)
    assert answer.status_code == 303, answer.text


@pytest.fixture
def platform(stack: Stack) -> Iterator[Platform]:
    stack.add_console()
    of = {
        key: [server, stack.add_replica(server)]
        for key, server in zip([*NAMES, "console"], stack.servers[:], strict=True)
    }
    with ExitStack() as exits:
        urls = {
            key: exits.enter_context(Balancer([server.port for server in servers])).url
            for key, servers in of.items()
        }
        wire(of, urls)
        dead = start(stack, of)
        browsers = [
            exits.enter_context(opened(urls[key], role="admin")) for key in ("crm", "console")
        ]
        del of["console"]
        platform = Platform(stack, of, browsers, dead)
        number = "SELECT count(*) FROM deliveries WHERE state = 'dead'"
        until(lambda: counted(platform, "integration", number) == len(dead), "they are refused")
        yield platform


def wire(of: Mapping[str, list[Server]], urls: Mapping[str, str]) -> None:
    """Tell each process where the others are: at the balancer of each service."""
    introspection = {"TOKEN_INTROSPECTION_URL": f"{urls['crm']}/api/tokens/introspect"}
    crm, inventory, integration = (
        {f"{key.upper()}_API_URL": urls[key]} for key in ("crm", "inventory", "integration")
    )
    read = {
        "crm": {**inventory, **integration, "SEED_DEMO_DATA": "true"},
        "inventory": introspection,
        "integration": {**crm, **inventory, **introspection},
        "console": {**crm, **inventory, **integration},
    }
    for key, servers in of.items():
        for server in servers:
            server.environment.update(read[key])
            server.constants.update(SHORTENED)


def start(stack: Stack, of: Mapping[str, list[Server]]) -> list[str]:
    """Start all of it, with two customers whose deliveries die. Returns their uids."""
    dead = []
    for key, (first, second) in of.items():
        if key == "integration":
            dead = [without_package(stack, name) for name in ("Nora", "Nils")]
        first.restart()  # it makes what there is at the beginning
        second.restart()
    return dead


def issue(platform: Platform, name: str) -> tuple[str, str]:
    """Issue a token. Returns its address and its text."""
    url = platform.of["crm"][0].url
    new = {"name": name, "role": "admin"}
    answer = platform.stack.client.post(
        f"{url}/api/tokens", json=new, headers=bearer("admin123")
    ).raise_for_status()
    return f"{url}/api/tokens/{answer.json()['id']}", answer.json()["token"]


def counted(platform: Platform, service: str, statement: str) -> int:
    [(number,)] = platform.of[service][0].rows(statement)
    return int(number)


def without_package(stack: Stack, name: str) -> str:
    """Register a customer whose package Inventory has under another name. Returns the uid.

    The integration does not run yet: Inventory will refuse its request.
    """

    def post(url: str, body: dict[str, str]) -> Any:
        return (
            stack.client.post(url, json=body, headers=bearer("admin123")).raise_for_status().json()
        )

    new = {"name": name, "email": f"{name.lower()}@example.com"}
    uid = str(post(f"{stack.crm.url}/api/customers", new)["uid"])
    package = {"customer_id": uid, "customer_name": "N. Night"}
    post(f"{stack.inventory.url}/package-requests", package)
    return uid


class Typed(NamedTuple):
    """A form as somebody has filled it in, and what counts how often it was done."""

    path: str
    fields: dict[str, str]
    counts: str


TEXT = "It came\nin two boxes, <b>both</b> open."


def fill_in(platform: Platform, service: str, browser: httpx.Client) -> Typed:
    """Fill in a form that a service takes. What stands in the statements is of our own."""
    number = platform.browsers.index(browser)
    if service == "integration":
        uid = platform.dead[number]
        count = (
            f"SELECT count(*) FROM deliveries WHERE subject = '{uid}' AND dismissed_reason <> ''"  # noqa: S608
        )
        reason = {
            "reason": "She has got <b>both</b>, and told us so by telephone this morning at nine."
        }
        return Typed(f"/console/deliveries/{uid}/dismiss", reason, count)
    if service == "inventory":
        page, form = "/console/stock/items/MUG-BLUE", "receive"
        fields = {"quantity": "7", "reason": f"delivery {number}"}
        count = f"SELECT count(*) FROM movements WHERE reason = 'delivery {number}'"  # noqa: S608
    else:
        page, form = "/console/tickets/1", "reply"
        fields = {"body": f"{TEXT} {number}"}
        count = f"SELECT count(*) FROM notes WHERE body LIKE 'It came%{number}'"  # noqa: S608
    found = re.search(r'name="key" value="([^"]+)"', browser.get(page).text)
    assert found is not None
    return Typed(f"{page}/{form}", {**fields, "key": found[1]}, count)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("service", NAMES)
def test_what_is_down_is_said_and_nothing_typed_is_lost(platform: Platform, service: str) -> None:
    first, second = platform.of[service]
    typed = {browser: fill_in(platform, service, browser) for browser in platform.browsers}
    first.end()
    platform.wait_until_whole()  # one of two is not missed
    second.end()
    if service == "crm":
        # The console within it has gone with it.
        with pytest.raises(httpx.TransportError):
            platform.browsers[0].get("/console")
        del typed[platform.browsers[0]]

    answers = {}
    for browser, form in typed.items():
        said = platform.look(browser)
        assert said.keys() == {path for path, needs in PAGES.items() if service in needs}
        for path, text in said.items():
            assert f"{NAMES[service]} does not answer" in text or "no answer" in text, path
            others = {name for key, name in NAMES.items() if key != service}
            assert not any(f"{name} does not answer" in text for name in others), path
        answers[browser] = browser.post(form.path, data=form.fields)
        assert answers[browser].status_code == 503, text_of(answers[browser])
        work_goes_on(browser, service)

    first.restart()
    second.restart()
    platform.wait_until_whole()
    for browser, answer in answers.items():
        send_again(platform, service, browser, Kept(answer.text), typed[browser])
    assert platform.stack.bugs() == []


def work_goes_on(browser: httpx.Client, service: str) -> None:
    """Do something that the service has no part in."""
    if service == "crm":
        fields = {"quantity": "1", "reason": "found", "key": "01a2-found"}
        answer = browser.post("/console/stock/items/MUG-BLUE/receive", data=fields)
    else:
        email = f"ada.{browser.base_url.port}@example.com"
        answer = browser.post("/console/customers/new", data={"name": "Ada", "email": email})
    assert answer.status_code == 303, text_of(answer)


def send_again(
    platform: Platform, service: str, browser: httpx.Client, kept: Kept, typed: Typed
) -> None:
    """Send what a page has kept, as it was typed; whoever sends it twice has it done once."""
    assert (kept.path, kept.fields) == (typed.path, typed.fields)
    assert counted(platform, service, typed.counts) == 0
    answer = browser.post(kept.path, data=kept.fields)
    assert answer.status_code == 303, text_of(answer)
    browser.post(kept.path, data=kept.fields)
    assert counted(platform, service, typed.counts) == 1


@pytest.mark.timeout(300)
def test_a_token_that_is_revoked_in_the_middle_takes_nothing_along(platform: Platform) -> None:
    for number, browser in enumerate(platform.browsers):
        address, token = issue(platform, f"maria {number}")
        sign_in(browser, token=token)
        for service in ("crm", "inventory"):
            typed = fill_in(platform, service, browser)
            platform.stack.client.delete(address, headers=bearer("admin123")).raise_for_status()
            until(partial(is_refused_everywhere, platform, token), "all know of it")

            answer = browser.post(typed.path, data=typed.fields)

            assert answer.status_code == 401
            assert "Your session has ended" in text_of(answer)
            assert browser.get("/console").status_code == 303, "there is no session any more"
            address, token = issue(platform, f"maria {number} {service}")
            sign_in(browser, token=token)
            send_again(platform, service, browser, Kept(answer.text), typed)
        assert platform.look(browser) == {}, "all services know the new token"

    assert platform.stack.bugs() == []


def is_refused_everywhere(platform: Platform, token: str) -> bool:
    return all(
        platform.stack.client.get(f"{server.url}/me", headers=bearer(token)).status_code == 401
        for servers in platform.of.values()
        for server in servers
    )
