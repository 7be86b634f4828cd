"""Under which names a service answers, whoever has made another name lead to it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service_kit.web.hosts import host_of
from tests.conftest import SERVICES, bearer, running
from tests.described import description
from tests.service_kit.conftest import create_app, new_sqlite
from tools.api_examples import operations

ALLOWED = "localhost, 127.0.0.1,[::1],Crm_Api,*.example.com"


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    url = new_sqlite(tmp_path_factory.mktemp("hosts"))
    async with running(create_app(url, allowed_hosts=ALLOWED), token="admin123") as client:
        yield client


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:8000", "LOCALHOST", "localhost.", "127.0.0.1", "127.0.0.1:1"),
        *("[::1]", "[::1]:8000", "crm_api:8000", "a.example.com", "a.b.Example.com:443"),
    ],
)
async def test_a_name_of_its_own_is_answered(service: httpx.AsyncClient, host: str) -> None:
    assert (await service.get("/api/boxes", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8000", "localhost.evil.example", "localhost@evil", ""),
        *("127.0.0.2", "[::2]", "::1", "[::1", "example.com", "evil-example.com"),
        *("example.com.", ".evil", "localhost..", " localhost", "localhost,evil", "löcalhost"),
    ],
)
async def test_another_name_is_told_so_and_nothing_else(
    service: httpx.AsyncClient, host: str
) -> None:
    given = [(b"host", host.encode())]
    answers = [
        await service.get("/api/boxes", headers=given),
        await service.post("/api/boxes", headers=given, json={"label": "x"}),
        await service.get("/docs", headers=given),
        await service.get("/nothing", headers=given),
        await service.options("/api/boxes", headers=given),
    ]

    for answer in answers:
        assert answer.status_code == 421
        assert answer.headers["content-type"] == "application/problem+json"
        document = answer.json()
        assert document["type"] == "urn:problem:misdirected-request"
        assert document["title"] == "Misdirected Request"
        assert document["request_id"] == answer.headers["x-request-id"]
        assert "evil" not in answer.text
    assert (await service.head("/api/boxes", headers=given)).status_code == 421
    assert (await service.get("/api/boxes", headers={"host": "localhost"})).json() == []


@pytest.mark.parametrize("path", ["/health", "/health/", "/health/ready", "/metrics"])
async def test_probes_are_answered_under_any_name(service: httpx.AsyncClient, path: str) -> None:
    assert (await service.get(path, headers={"host": "10.1.2.3:8000"})).status_code == 200


async def test_without_a_list_any_name_will_do(tmp_path: Path) -> None:
    async with running(create_app(new_sqlite(tmp_path))) as client:
        headers = bearer("admin123") | {"host": "evil.example"}
        assert (await client.get("/api/boxes", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("authority", "host"),
    [("A.Example:80", "a.example"), ("[::A]:80", "[::a]"), ("[::1", "[::1"), ("a.", "a"), ("", "")],
)
def test_a_host_is_read_without_its_port(authority: str, host: str) -> None:
    assert host_of(authority) == host


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_but_the_probes_says_that_it_may_be_misdirected(service: str) -> None:
    says: dict[str, Any] = {
        one.path: "421" in one.said["responses"] for one in operations(description(service))
    }

    assert {path for path, said in says.items() if not said} == {
        "/health",
        "/health/ready",
        "/metrics",
    }
