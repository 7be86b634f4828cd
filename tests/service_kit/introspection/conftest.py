"""An Inventory that asks the real CRM; only the network between them is the tests' own."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import respx

from crm_api.app import create_app as create_crm
from crm_api.settings import Settings as CrmSettings
from inventory_api.app import create_app
from inventory_api.settings import Settings
from service_kit.process import rates
from service_kit.web import introspection, problems
from service_kit.web.introspection import BELIEVED_SECONDS
from tests.conftest import bearer, copy_of_template, running
from tests.identity import INTROSPECTION, CrmLink
from tests.service_kit.conftest import Time

LIST = "/package-requests"
WORKS, REFUSED, MAY_NOT, TOO_MANY, UNAVAILABLE = 200, 401, 403, 429, 503
ALMOST = BELIEVED_SECONDS - 0.001


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    passing = Time()
    monkeypatch.setattr(introspection, "time", passing)
    monkeypatch.setattr(rates, "time", passing)
    monkeypatch.setattr(problems, "_logged_at", {})
    return passing


@pytest.fixture(scope="module")
async def crm(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    url = copy_of_template(request, "sqlite", "crm_api")[1]
    settings = CrmSettings(database_url=url, seed_demo_data=False)
    async with running(create_crm(settings), token="admin123") as client:
        yield client


@pytest.fixture
def link(crm: httpx.AsyncClient) -> Iterator[CrmLink]:
    link = CrmLink(crm.app)  # type: ignore[attr-defined]
    with respx.mock(assert_all_called=False) as router:
        router.post(INTROSPECTION).mock(side_effect=link)
        yield link


@pytest.fixture(scope="module")
def read_settings(request: pytest.FixtureRequest) -> Settings:
    url = copy_of_template(request, "sqlite", "inventory_api")[1]
    return Settings(database_url=url, seed_demo_data=False, token_introspection_url=INTROSPECTION)


@pytest.fixture
async def inventory(read_settings: Settings, link: CrmLink) -> AsyncIterator[httpx.AsyncClient]:
    """An Inventory that has asked nothing yet."""
    async with running(create_app(read_settings)) as client:
        yield client


def from_address(inventory: httpx.AsyncClient, address: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(inventory.app, client=(address, 1))  # type: ignore[attr-defined]
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def status(client: httpx.AsyncClient, token: str) -> int:
    return (await client.get(LIST, headers=bearer(token))).status_code
