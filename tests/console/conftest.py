"""The console of a CRM, as a browser without a script uses it; the other services are faked."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from html import unescape
from typing import Any

import httpx
import pytest
import respx
from fastapi import FastAPI

from crm_api.app import create_app
from crm_api.settings import Settings
from tests.conftest import NewDatabase, running

INVENTORY, INTEGRATION = "http://inventory.test", "http://integration.test"
# What a browser says about a form of the console's own page.
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="session")
def read_settings() -> Settings:
    """What a CRM with demo data is told; reading it takes longer than many a test."""
    return Settings(seed_demo_data=True)


@pytest.fixture
def settings(read_settings: Settings, emptied_database: NewDatabase) -> Settings:
    return read_settings.model_copy(update={"database_url": emptied_database("crm_api")})


@pytest.fixture
async def browser(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at the console of a CRM that knows of no other service."""
    async with opened(settings) as client:
        yield client


@pytest.fixture
async def platform(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at a console that knows all three services."""
    known = {"inventory_api_url": INVENTORY, "integration_api_url": INTEGRATION}
    async with opened(settings.model_copy(update=known)) as client:
        yield client


@pytest.fixture
def services() -> Iterator[respx.MockRouter]:
    """Inventory and the integration, which know every token as an admin's and answer 404 else."""
    with respx.mock(assert_all_called=False) as router:
        for url, scopes in (
            (INVENTORY, ["packages:read", "packages:write", "stock:read"]),
            (INTEGRATION, ["sync:operate", "sync:read"]),
        ):
            me = {"name": "admin", "role": "admin", "scopes": scopes, "expires_at": None}
            router.get(f"{url}/me").respond(json=me)
        # What the menu counts.
        for address, state in (
            (f"{INVENTORY}/package-requests", {"status": "pending"}),
            (f"{INTEGRATION}/deliveries", {"state": "dead"}),
        ):
            router.get(address, params={**state, "limit": "101"}).respond(json=[])
        yield router


@asynccontextmanager
async def opened(settings: Settings, scheme: str = "http") -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app(settings)) as client:
        client.base_url = httpx.URL(f"{scheme}://test")
        yield client


async def sign_in(
    browser: httpx.AsyncClient, role: str = "admin", token: str = "", after: str = ""
) -> httpx.Response:
    """Sign in as a role of the demo tokens, or with a token."""
    form = {"token": token, "next": after} if token else {"role": role, "next": after}
    return await send(browser, "/console/sign-in", form)


async def send(
    browser: httpx.AsyncClient, path: str, form: dict[str, Any] | None = None, **headers: str
) -> httpx.Response:
    """Send a form as a page of the console does."""
    return await browser.post(path, data=form or {}, headers={**OWN_PAGE, **headers})


async def admin_calls(browser: httpx.AsyncClient, method: str, path: str, **options: Any) -> Any:
    """Call the CRM's API as an admin. Returns what it answers."""
    headers = {"Authorization": "Bearer admin123"}
    answer = await browser.request(method, path, headers=headers, **options)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


def text_of(answer: httpx.Response) -> str:
    """Return what a page says, without its markup."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", answer.text)))


def hidden(answer: httpx.Response, name: str) -> str:
    """Return the value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', answer.text)
    assert found is not None, answer.text
    return unescape(found[1])


def app_of(browser: httpx.AsyncClient) -> FastAPI:
    app: FastAPI = browser.app  # type: ignore[attr-defined]
    return app
