"""/docs and /redoc work without the internet, and tell a browser to load from nowhere else."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from crm_api.app import create_app
from crm_api.settings import Settings
from service_kit.web import docs as pages
from service_kit.web import openapi, shared


@pytest.fixture
def client(anyio_backend: str) -> httpx.AsyncClient:
    app = create_app(Settings(database_url="sqlite:///nowhere"))
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
    client.app = app  # type: ignore[attr-defined]
    return client


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


async def test_all_who_ask_for_the_description_at_once_share_one(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0
    plain = openapi.get_openapi

    def counted(**options: Any) -> Any:
        nonlocal written
        written += 1
        return plain(**options)

    monkeypatch.setattr(openapi, "get_openapi", counted)

    hasty = asyncio.create_task(client.get("/openapi.json"))
    await asyncio.sleep(0)
    hasty.cancel()
    answers = await asyncio.gather(*(client.get("/openapi.json") for _ in range(8)))

    assert len({answer.content for answer in answers}) == 1
    assert written == 1


@pytest.mark.parametrize("path", ["/openapi.json", "/metrics"])
async def test_a_slow_reader_holds_no_copy_of_what_all_share(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(shared, "PIECE", 100)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    await client.app(scope, receive, send)  # type: ignore[attr-defined]

    start, *pieces = sent
    assert max(len(piece["body"]) for piece in pieces) <= 100
    assert [piece.get("more_body", False) for piece in pieces[-2:]] == [True, False]
    length = sum(len(piece["body"]) for piece in pieces)
    assert dict(start["headers"])[b"content-length"] == str(length).encode()


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
