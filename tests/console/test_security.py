"""What other pages can't do, what a page may load, and what text in it can't."""

import re

import httpx
import pytest

from console.app import _ROUTES
from console.security import POLICY
from crm_api.settings import Settings
from tests.console.conftest import OWN_PAGE, admin_calls, app_of, opened, sign_in

pytestmark = pytest.mark.engine("sqlite")

SITE, ORIGIN = "Sec-Fetch-Site", "Origin"
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}",
    "\u202eabc\u202c",
    "A\u200bda",
)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({SITE: "same-origin"}, 303),
        ({SITE: "same-origin", ORIGIN: "http://elsewhere.test"}, 303),  # the browser's own word
        ({SITE: "same-site"}, 403),  # another port of this host
        ({SITE: "same-site", ORIGIN: "http://test"}, 403),
        ({SITE: "cross-site"}, 403),
        ({SITE: "none"}, 403),
        ({ORIGIN: "http://test"}, 303),
        ({ORIGIN: "http://test:8001"}, 403),
        ({ORIGIN: "https://test"}, 403),
        ({ORIGIN: "http://test.evil.test"}, 403),
        ({ORIGIN: "null"}, 403),
        ({ORIGIN: ""}, 403),
        ({}, 403),
    ],
)
async def test_only_a_page_of_the_console_changes_something(
    browser: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    await sign_in(browser)

    for path in ("/console/sign-in", "/console/sign-out"):
        answer = await browser.post(path, data={"role": "admin"}, headers=headers)
        assert answer.status_code == status, path

    assert (await browser.get("/console")).status_code == (303 if status == 303 else 200)


async def test_behind_a_proxy_the_public_address_is_its_own(settings: Settings) -> None:
    public = settings.model_copy(update={"public_url": "https://crm.example.com"})
    async with opened(public) as browser:
        for origin, status in (("https://crm.example.com", 303), ("https://example.com", 403)):
            answer = await browser.post(
                "/console/sign-in", data={"role": "admin"}, headers={ORIGIN: origin}
            )
            assert answer.status_code == status


async def test_every_form_looks_where_it_comes_from(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)
    paths = [route.path for route in _ROUTES if "POST" in (route.methods or ())]
    assert len(paths) > 5

    for path in paths:
        address = "/console" + re.sub(r"{\w+}", "1", path)
        answer = await browser.post(address, headers={SITE: "cross-site"})
        assert answer.status_code == 403, path


async def test_every_page_asks_who_it_is_unless_it_is_for_signing_in(
    browser: httpx.AsyncClient,
) -> None:
    open_to_all = {"/sign-in", "/sign-out", "/sign-out-everywhere", "/link"}
    open_to_all |= {"/sign-in/provider", "/signed-in"}
    paths = {route.path for route in _ROUTES} - open_to_all
    for path in paths:
        address = "/console" + re.sub(r"{\w+}", "1", path)
        seen = [(await browser.get(address)).status_code]
        seen.append((await browser.post(address, headers=OWN_PAGE)).status_code)
        assert set(seen) <= {303, 401, 405}, path
        assert "Jane" not in (await browser.get(address)).text


async def test_pages_say_what_they_may_load_and_are_kept_nowhere(
    browser: httpx.AsyncClient,
) -> None:
    await sign_in(browser)
    for path in ("/console", "/console/sign-in", "/console/customers/1", "/console/nothing"):
        headers = (await browser.get(path)).headers
        assert headers["content-security-policy"] == POLICY
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in POLICY


async def test_pages_hold_no_script_and_no_style_of_their_own(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)
    for path in (
        "/console",
        "/console/customers",
        "/console/customers/1",
        "/console/sign-in?done=",
    ):
        page = (await browser.get(path)).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\bsrc=)", page), path
        assert not re.search(r"(src|href|action)=\"(https?:)?//", page), path


async def test_what_a_page_loads_is_there_and_is_kept(browser: httpx.AsyncClient) -> None:
    page = (await browser.get("/console/sign-in")).text
    loaded = re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page)
    assert len(loaded) == 4
    for address in loaded:
        answer = await browser.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        stale = await browser.get(address.partition("?")[0])
        assert stale.headers["cache-control"] == "no-store"
    for name in ("manifest.json", "..%2Fapp.py", "htmx.LICENSE.md"):
        assert (await browser.get(f"/console/static/{name}")).status_code == 404


@pytest.mark.parametrize("name", HOSTILE)
async def test_somebodys_text_is_only_text(browser: httpx.AsyncClient, name: str) -> None:
    new = {"name": name, "email": "hostile@example.com", "company": name, "metadata": {name: name}}
    customer = await admin_calls(browser, "POST", "/api/customers", json=new)
    ticket = {"customer_id": customer["id"], "subject": name, "description": name}
    await admin_calls(browser, "POST", "/api/tickets", json=ticket)
    await sign_in(browser)

    for path in (
        "",
        "/customers",
        f"/customers/{customer['id']}",
        f"/customers/{customer['id']}/edit",
        f"/customers/{customer['id']}/erase",
        "/search?q=hostile",
    ):
        page = await browser.get(f"/console{path}", follow_redirects=True)
        assert page.status_code == 200
        assert "<script>" not in page.text
        assert "<img" not in page.text
        assert "49" not in re.sub(r'"[^"]*"', "", page.text).partition("<main")[2][:400]
        if name.startswith("\u202e") and "edit" not in path:
            assert f"<bdi>{name}</bdi>" in page.text


async def test_what_a_token_may_not_do_is_not_shown_and_not_done(
    browser: httpx.AsyncClient,
) -> None:
    await sign_in(browser, "agent")
    page = (await browser.get("/console/customers/1")).text
    assert "/customers/1/edit" in page
    assert "/customers/1/erase" not in page

    answer = await browser.get("/console/customers/1/erase")

    assert answer.status_code == 403
    assert "customers:delete" in answer.text


async def test_without_the_console_nothing_of_it_is_there(settings: Settings) -> None:
    async with opened(settings.model_copy(update={"console": False})) as browser:
        assert (await browser.get("/console/sign-in")).status_code == 404
        home = await browser.get("/", headers={"Accept": "text/html,*/*"})
        assert home.headers["location"] == "/docs"


async def test_the_home_page_sends_browsers_on_and_gives_others_links(
    browser: httpx.AsyncClient,
) -> None:
    sent = await browser.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    links = await browser.get("/")

    assert (sent.status_code, sent.headers["location"]) == (302, "/console")
    assert sent.headers["vary"] == links.headers["vary"] == "Accept"
    assert links.json()["console"] == "/console"
    for name in ("docs", "redoc", "openapi", "health", "ready", "metrics"):
        assert (await browser.get(links.json()[name])).status_code == 200, name


async def test_a_form_has_a_limit_and_its_bytes_count(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)
    large = {"name": "x" * 600_000}

    answer = await browser.post("/console/customers/1/edit", data=large, headers=OWN_PAGE)
    assert answer.status_code == 413
    assert "Too much text" in answer.text

    held = app_of(browser).state.capacity.body_bytes
    held.most = 1000
    answer = await browser.post(
        "/console/customers/1/edit", data={"name": "x" * 2000}, headers=OWN_PAGE
    )
    assert answer.status_code == 503
    assert "Try again later" in answer.text
