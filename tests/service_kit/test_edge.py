"""What happens to each request, whatever it asks for: names, paths, figures, other origins."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.routing import Route

from tests.conftest import SERVICES, bearer, running
from tests.service_kit.conftest import create_app, new_sqlite

PREFLIGHT = {
    "access-control-request-method": "PATCH",
    "access-control-request-headers": "authorization,if-match",
}


async def counted(client: httpx.AsyncClient) -> dict[tuple[str, str, str], float]:
    """Read how many requests were answered, by method, route and status."""
    text = (await client.get("/metrics")).text
    return {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "http_request_duration_seconds_count"
    }


@pytest.mark.parametrize("given", ["a", "A-z_0.9", "x" * 128, "0190a1b2-c3d4"])
async def test_a_request_keeps_the_id_it_came_with(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/health", headers={"x-request-id": given})

    assert answer.headers.get_list("x-request-id") == [given]


@pytest.mark.parametrize(
    "given", [b"", b"x" * 129, b"a b", b"a\tb", b"\xe4", b'a"b', b"a,b", b"a/b", b"a\r\nb"]
)
async def test_an_id_that_is_not_fit_for_a_log_is_replaced(
    client: httpx.AsyncClient, given: bytes
) -> None:
    answer = await client.get("/health", headers=[(b"x-request-id", given)])

    [made] = answer.headers.get_list("x-request-id")
    assert UUID(made)


async def test_a_request_without_an_id_gets_one_of_its_own(client: httpx.AsyncClient) -> None:
    made = {(await client.get("/health")).headers["x-request-id"] for _ in range(10)}

    assert len(made) == 10


@pytest.mark.parametrize(
    "path",
    ["/health", "/health/ready", "/metrics", "/docs", "/redoc", "/openapi.json", "/api/boxes"],
)
async def test_a_final_slash_means_nothing(client: httpx.AsyncClient, path: str) -> None:
    answers = [await client.get(path + slashes) for slashes in ("", "/", "//")]

    assert [answer.status_code for answer in answers] == [200] * 3
    kinds = {re.sub("charset.*", "", answer.headers["content-type"]) for answer in answers}
    assert len(kinds) == 1


async def test_no_form_of_a_path_is_redirected(client: httpx.AsyncClient) -> None:
    for path in ("/api/boxes/", "/boxes/", "/boxes/1/", "/nothing/", "/", "//", "//evil.example/"):
        answer = await client.get(httpx.URL("http://test", raw_path=path.encode()))
        assert answer.status_code in {200, 404}
        assert "location" not in answer.headers


async def test_canonical_routes_answer_without_their_prefix_too(client: httpx.AsyncClient) -> None:
    await client.post("/boxes/", json={"label": "box"})

    for path in ("/api/boxes", "/boxes", "/boxes/"):
        assert [box["label"] for box in (await client.get(path)).json()] == ["box"]
    for path in ("/api/boxes/1", "/boxes/1", "/boxes/1/"):
        assert (await client.get(path)).json()["label"] == "box"


@pytest.mark.parametrize("path", ["/api/health", "/api/api/boxes", "/boxesx", "/api"])
async def test_the_prefix_makes_no_further_routes(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


async def test_the_description_names_canonical_paths_alone(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    assert "/api/boxes/{box}" in paths
    assert not [path for path in paths if path.startswith("/boxes")]


async def test_requests_are_counted_by_route_and_status(client: httpx.AsyncClient) -> None:
    await client.post("/api/boxes", json={"label": "Jane"})
    await client.post("/boxes/", json={"label": "Jane"})
    for path in ("/api/boxes/1", "/boxes/1/", "/api/boxes/4711", "/boxes/secret-4711"):
        await client.get(path)
    await client.get("/broken/by-a-bug")
    await client.get("/nothing/secret-4711")
    await client.put("/api/boxes/4711")
    await client.request("BREW", "/health")
    await client.get("/api/boxes", headers=bearer("secret-4711"))

    figures = await counted(client)

    assert figures == {
        ("POST", "/api/boxes", "201"): 1,
        ("POST", "/api/boxes", "409"): 1,
        ("GET", "/api/boxes/{box}", "200"): 2,
        ("GET", "/api/boxes/{box}", "404"): 1,
        ("GET", "/api/boxes/{box}", "422"): 1,
        ("GET", "/broken/by-a-bug", "500"): 1,
        ("GET", "unmatched", "404"): 1,
        ("PUT", "/api/boxes/{box}", "405"): 1,
        ("other", "/health", "405"): 1,
        ("GET", "/api/boxes", "401"): 1,
    }
    assert "4711" not in (await client.get("/metrics")).text


async def test_two_services_in_a_process_count_for_themselves(
    client: httpx.AsyncClient, tmp_path_factory: pytest.TempPathFactory
) -> None:
    await client.get("/health")

    async with running(create_app(new_sqlite(tmp_path_factory.mktemp("other")))) as other:
        assert await counted(other) == {}


@pytest.mark.parametrize(
    "path",
    [
        "/health",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/api/boxes",
        "/boxes/1/",
        "/api/boxes/4711",
        "/nothing",
        "/broken/by-a-bug",
    ],
)
async def test_a_head_is_that_of_the_get(client: httpx.AsyncClient, path: str) -> None:
    await client.post("/boxes/", json={"label": "box"})
    same = {"x-request-id": "same"}

    whole, head = await client.get(path, headers=same), await client.head(path, headers=same)

    assert (head.status_code, head.headers) == (whole.status_code, whole.headers)
    assert int(head.headers["content-length"]) == len(whole.content) > 0
    assert head.content == b""


@pytest.mark.parametrize("name", SERVICES)
async def test_a_head_is_answered_wherever_there_is_a_get(
    name: str, sqlite_template: Callable[[str], Path], tmp_path: Path
) -> None:
    service = SERVICES[name]
    url = f"sqlite:///{shutil.copy(sqlite_template(name), tmp_path)}"
    app = service.app(type(service.settings())(database_url=url))
    paths = [
        re.sub(r"\{[^}]*\}", "1", route.path)
        for route in app.routes
        if isinstance(route, Route) and "GET" in (route.methods or ())
    ]
    # Without a token, so that nobody waits for anything.
    async with running(app) as client:
        answers = {path: (await client.get(path), await client.head(path)) for path in paths}

    assert len(answers) > 10
    for path, (got, head) in answers.items():
        assert head.status_code == got.status_code != 405, path
        assert head.content == b""


async def test_a_head_where_there_is_no_get_is_refused_without_a_body(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.head("/echo")

    assert (answer.status_code, answer.content) == (405, b"")
    assert answer.headers["allow"] == "OPTIONS, POST"


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/health", "no-store"),
        ("/health/ready", "no-store"),
        ("/metrics", "no-store"),
        ("/openapi.json", "no-store"),
        ("/docs", "no-store"),
        ("/docs/start.js", "public, max-age=86400"),
        ("/api/boxes", "no-store"),
        ("/api/boxes/1", "no-store"),
        ("/nothing", "no-store"),
        ("/broken/by-a-bug", "no-store"),
    ],
)
async def test_an_answer_is_of_its_type_and_kept_by_nobody_unless_it_says_so(
    client: httpx.AsyncClient, path: str, kept: str
) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        answer = await client.request(method, path)

        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        wanted = "no-store" if method == "OPTIONS" else kept
        assert answer.headers.get_list("cache-control") == [wanted]


async def test_other_origins_are_told_nothing_unless_they_are_named(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/health", headers={"origin": "https://a.example"})

    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(("token", "status"), [("admin123", 200), ("wrong", 401)])
async def test_pages_of_a_named_origin_may_read_answers(
    tmp_path_factory: pytest.TempPathFactory, token: str, status: int
) -> None:
    origins = ("https://a.example", "https://b.example")
    app = create_app(new_sqlite(tmp_path_factory.mktemp("cors")), cors_origins=origins)
    async with running(app, token=token) as client:
        read = await client.get("/boxes", headers={"origin": "https://b.example"})
        other = await client.get("/boxes", headers={"origin": "https://c.example"})

    assert read.status_code == other.status_code == status
    assert read.headers["access-control-allow-origin"] == "https://b.example"
    assert read.headers["access-control-expose-headers"] == "*"
    assert "access-control-allow-origin" not in other.headers


async def test_a_browser_may_ask_beforehand_and_without_a_token(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    url = new_sqlite(tmp_path_factory.mktemp("cors"))
    async with running(create_app(url, cors_origins=("https://a.example",))) as client:
        allowed = await client.options(
            "/api/boxes/1", headers=PREFLIGHT | {"origin": "https://a.example"}
        )
        refused = await client.options(
            "/api/boxes/1", headers=PREFLIGHT | {"origin": "https://c.example"}
        )

    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://a.example"
    assert "PATCH" in allowed.headers["access-control-allow-methods"]
    assert "if-match" in allowed.headers["access-control-allow-headers"]
    assert allowed.headers["x-request-id"]
    assert "access-control-allow-origin" not in refused.headers
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["type"] == "urn:problem:bad-request"
    assert refused.json()["detail"].startswith("Disallowed CORS origin")
    assert refused.json()["request_id"] == refused.headers["x-request-id"]


async def test_pages_of_a_named_origin_may_read_of_our_bugs_too(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    url = new_sqlite(tmp_path_factory.mktemp("cors"))
    async with running(create_app(url, cors_origins=("https://a.example",))) as client:
        answer = await client.get("/broken/by-a-bug", headers={"origin": "https://a.example"})

    assert answer.status_code == 500
    assert answer.json()["type"] == "urn:problem:internal-error"
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
