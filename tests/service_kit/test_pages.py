"""/docs and /redoc work without the internet, and tell a browser to load from nowhere else."""

import re

import httpx
import pytest

from crm_api.app import create_app
from crm_api.settings import Settings
from service_kit.web import docs as pages
from service_kit.web import openapi


@pytest.fixture
def client(anyio_backend: str) -> httpx.AsyncClient:
    app = create_app(Settings(database_url="sqlite:///nowhere"))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_a_page_loads_from_this_service_alone(client: httpx.AsyncClient, path: str) -> None:
    page = await client.get(path)

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    addresses = re.findall(r'(?:src|href|data-openapi|spec-url)="([^"]*)"', page.text)
    assert "/openapi.json" in addresses
    for address in addresses:
        assert address.startswith("/")
        loaded = await client.get(address)
        assert loaded.status_code == 200
        assert len(loaded.content) > 100
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert not re.search(r"<script>|<script [^>]*>[^<]|\son\w+=", page.text), "no inline script"


async def test_the_description_is_written_once_for_all_who_ask(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await client.get("/openapi.json")
    monkeypatch.setattr(openapi.json, "dumps", None)

    assert (await client.get("/openapi.json")).content == first.content
    assert first.json()["info"]["title"] == "crm_api"


async def test_a_file_may_be_kept_and_is_of_its_type(client: httpx.AsyncClient) -> None:
    kinds = {}
    for path in pages.PATHS[3:]:
        answer = await client.get(path)
        kinds[path.rpartition(".")[2]] = answer.headers["content-type"].partition(";")[0]
        assert "max-age" in answer.headers["cache-control"]

    assert kinds == {"js": "text/javascript", "css": "text/css", "png": "image/png"}


@pytest.mark.parametrize("name", ["nothing.js", "..%2f__init__.py", "%2e%2e", "start.js%00"])
async def test_no_other_file_is_answered(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/docs/{name}")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_behind_a_path_of_a_proxy_the_addresses_have_it() -> None:
    app = create_app(Settings(database_url="sqlite:///nowhere"))
    transport = httpx.ASGITransport(app, root_path="/crm")
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        page = await client.get("/crm/docs")

    assert 'data-openapi="/crm/openapi.json"' in page.text
    assert 'src="/crm/docs/swagger-ui-bundle.js"' in page.text
