"""Who gets in, and how little is looked at before that is known."""

import hashlib
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from starlette.types import Scope

from service_kit.web.app import create_service
from service_kit.web.auth import GuardedRoute, Principal, Public, needs
from tests.conftest import bearer, running
from tests.service_kit.conftest import CanRead, Settings, create_app, new_sqlite

READ_AND_WRITE = [("GET", "/api/boxes"), ("POST", "/api/boxes"), ("DELETE", "/api/boxes/1")]


async def ask_without_a_body(app: FastAPI, **headers: str) -> int:
    """Send the head of a POST, and fail when anybody wants its body. Returns the status."""
    statuses = []

    async def receive() -> Any:
        pytest.fail("The body was asked for.")

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/api/boxes",
        "raw_path": b"/api/boxes",
        "query_string": b"",
        "root_path": "",
        "headers": [(name.replace("_", "-").encode(), headers[name].encode()) for name in headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8009),
    }
    await app(scope, receive, send)
    [status] = statuses
    return status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer viewer123"}, 403),
        ({"authorization": "Bearer admin123", "content_length": "1048577"}, 413),
        ({"authorization": "Bearer admin123", "content_type": "text/plain"}, 415),
        ({"authorization": "Bearer wrong", "content_type": "text/plain"}, 401),
    ],
)
async def test_a_refusal_comes_before_one_byte_of_the_body_is_read(
    client: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    app: FastAPI = client.app  # type: ignore[attr-defined]
    sent = {"content_length": "20", "content_type": "application/json"} | headers

    assert await ask_without_a_body(app, **sent) == status


@pytest.mark.parametrize(
    ("token", "statuses"),
    [("admin123", [200, 422, 204]), ("viewer123", [200, 403, 403]), ("keeper123", [401] * 3)],
)
async def test_a_role_may_do_what_its_scopes_say(
    anyone: httpx.AsyncClient, token: str, statuses: list[int]
) -> None:
    answers = [
        await anyone.request(method, path, headers=bearer(token)) for method, path in READ_AND_WRITE
    ]

    assert [answer.status_code for answer in answers] == statuses


async def test_who_may_not_is_told_which_scope_it_takes(anyone: httpx.AsyncClient) -> None:
    answer = await anyone.delete("/api/boxes/1", headers=bearer("viewer123"))

    assert answer.json()["detail"] == "The role viewer does not have the scope boxes:write."


async def test_who_may_not_does_not_learn_what_there_is(anyone: httpx.AsyncClient) -> None:
    answers = [
        await anyone.request("DELETE", path, headers=headers | {"x-request-id": "same"})
        for path in ("/api/boxes/1", "/api/boxes/nonsense")
        for headers in ({}, bearer("viewer123"))
    ]

    assert [answer.status_code for answer in answers] == [401, 403, 401, 403]


@pytest.mark.parametrize(
    ("token", "statuses"),
    [
        (None, [401, 422, 204]),
        ("wrong", [401, 401, 401]),
        ("viewer123", [200, 403, 403]),
        ("admin123", [200, 422, 204]),
    ],
)
async def test_anonymous_scopes_are_for_those_who_send_no_token(
    tmp_path_factory: pytest.TempPathFactory, token: str | None, statuses: list[int]
) -> None:
    url = new_sqlite(tmp_path_factory.mktemp("anonymous"))
    app = create_app(url, anonymous_scopes=frozenset({"boxes:write"}))
    headers = bearer(token) if token else {}
    async with running(app) as client:
        answers = [
            await client.request(method, path, headers=headers) for method, path in READ_AND_WRITE
        ]

    assert [answer.status_code for answer in answers] == statuses


async def test_tokens_of_the_environment_and_no_others_get_in(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    url = new_sqlite(tmp_path_factory.mktemp("tokens"))
    app = create_app(url, api_tokens="viewer:one,viewer:two", admin_token="three")
    async with running(app) as client:
        tokens = ("one", "two", "three", "viewer123", "admin123", "viewer:one")
        answers = [await client.get("/api/boxes", headers=bearer(token)) for token in tokens]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 401, 401, 401]


async def test_a_token_that_is_set_by_its_hash_gets_in_and_the_hash_does_not(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    url = new_sqlite(tmp_path_factory.mktemp("hashed"))
    hashed = hashlib.sha256(b"one").hexdigest()
    app = create_app(url, api_tokens=f"viewer:sha256:{hashed}")
    async with running(app) as client:
        tokens = ("one", hashed, f"sha256:{hashed}", "viewer123")
        answers = [await client.get("/api/boxes", headers=bearer(token)) for token in tokens]
        refused = await client.delete("/api/boxes/1", headers=bearer("one"))

    assert [answer.status_code for answer in answers] == [200, 401, 401, 401]
    assert refused.status_code == 403


async def test_a_token_that_no_setting_names_is_looked_for_elsewhere(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    asked: list[str] = []
    router = APIRouter(route_class=GuardedRoute)

    async def find(token: str, _: Scope) -> Principal | None:
        asked.append(token)
        return Principal("Ann", "viewer", frozenset({"boxes:read"})) if token == "ann" else None

    @router.get("/name")
    async def name(who: CanRead) -> str:
        return who.name

    app = create_service(
        name="boxes",
        description="",
        settings=Settings(database_url=new_sqlite(tmp_path_factory.mktemp("find"))),
        routers=[router],
        find_token=find,
    )
    async with running(app) as client:
        answers = [
            await client.get("/name", headers=bearer(token))
            for token in ("ann", "bob", "admin123", "not a token")
        ]

    assert [answer.status_code for answer in answers] == [200, 401, 200, 401]
    assert [answer.json() for answer in answers[::2]] == ["Ann", "admin"]
    assert asked == ["ann", "bob"]


def guarded(*dependencies: Any) -> APIRouter:
    router = APIRouter(route_class=GuardedRoute, dependencies=dependencies)

    @router.get("/open-by-mistake")
    async def handler() -> None: ...

    return router


def unguarded() -> APIRouter:
    router = APIRouter()

    @router.get("/open-by-mistake")
    async def handler(_: CanRead) -> None: ...

    return router


def deeply_guarded() -> APIRouter:
    router = APIRouter(route_class=GuardedRoute)

    async def inner(_: CanRead) -> None: ...

    @router.get("/open-by-mistake")
    async def handler(_: Annotated[None, Depends(inner)]) -> None: ...

    return router


def mounted() -> APIRouter:
    router = APIRouter()
    router.mount("/open-by-mistake", FastAPI())
    return router


def socket() -> APIRouter:
    router = APIRouter()

    @router.websocket("/open-by-mistake")
    async def handler(_: WebSocket) -> None: ...

    return router


@pytest.mark.parametrize(
    "router",
    [
        guarded(),
        guarded(Public, needs("boxes:read")),
        unguarded(),
        deeply_guarded(),
        mounted(),
        socket(),
    ],
    ids=[
        "says nothing",
        "is public and asks for a scope",
        "asks, but nobody checks",
        "asks too late",
        "another app",
        "a web socket",
    ],
)
def test_an_app_with_a_route_open_by_mistake_does_not_start(
    router: APIRouter, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(RuntimeError, match="/open-by-mistake"):
        create_app(new_sqlite(tmp_path_factory.mktemp("refused")), router)


async def test_a_router_may_ask_for_all_of_its_routes(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    url = new_sqlite(tmp_path_factory.mktemp("router"))
    async with running(create_app(url, guarded(needs("boxes:write")))) as client:
        answers = [
            await client.get("/open-by-mistake", headers=headers)
            for headers in ({}, bearer("viewer123"), bearer("admin123"))
        ]

    assert [answer.status_code for answer in answers] == [401, 403, 200]


async def test_every_route_but_the_public_ones_refuses_a_stranger(
    anyone: httpx.AsyncClient,
) -> None:
    description = (await anyone.get("/openapi.json")).json()["paths"]
    statuses = {
        (method, path): (await anyone.request(method, path.format(box=1, room=1))).status_code
        for path, operations in description.items()
        for method in operations
    }

    strangers = {route for route, status in statuses.items() if status != 401}
    assert {path for _, path in strangers} == {
        "/health",
        "/health/ready",
        "/metrics",
        "/echo",
        "/broken/by-a-bug",
        "/broken/by-its-database",
        "/broken/by-half-a-character",
    }
