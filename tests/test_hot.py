"""Hot routes answer by hand, byte for byte as FastAPI answers without the hand."""

import gc
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from service_kit.process import clock
from service_kit.web.body import MAX_BODY_BYTES, MAX_VALUES
from service_kit.web.hot import HotRoute
from tests.conftest import ROOT, SERVICES, NewDatabase, running

HOT = {
    "crm_api": {
        "POST /api/customers",
        "GET /api/customers",
        "GET /api/customers/{customer}",
        "GET /api/tickets",
        "GET /api/events",
    },
    "inventory_api": {"POST /package-requests/batch"},
}
# One plain request to each, so that no comparison is of the generic handler with itself.
BY_HAND = {
    "crm_api": [
        "POST /api/customers",
        "GET /api/customers",
        "GET /api/customers/1",
        "GET /api/tickets",
        "GET /api/events",
        "HEAD /api/customers/1",
        "GET /api/customers/",
        "GET /customers",
    ],
    "inventory_api": ["POST /package-requests/batch"],
}
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
JSON = {"Content-Type": "application/json"}
UID = "019a5d3c-7a11-7cc0-9b0e-00000000000"
Case = tuple[str, str, dict[str, Any]]


def queries(path: str, *queries: str) -> Iterator[Case]:
    for query in ("", *queries, "colour=red", "limt=5", "limit=5&limit=6", "limit=5&&", "="):
        yield "GET", f"{path}?{query}", {}
    for limit in (
        "0",
        "1",
        "500",
        "501",
        "05",
        "0005",
        "+5",
        "5.0",
        " 5",
        "5_0",
        "\u0665",
        "-1",
        "",
        "x",
    ):
        yield "GET", f"{path}?limit={limit}", {}


def bodies(path: str, *values: Any) -> Iterator[Case]:
    for value in values:
        yield "POST", path, {"json": value}
    for kind in ("application/json; charset=utf-8", "application/a+json", "text/plain", ""):
        yield "POST", path, {"content": json.dumps(values[0]), "headers": {"Content-Type": kind}}
    for content in (
        b"",
        b"null",
        b"{",
        b"[]",
        b'{"name": NaN}',
        b"\xff",
        b'{"a":1,"a":1}',
        b"1e999",
    ):
        yield "POST", path, {"content": content, "headers": JSON}
    yield "POST", path, {"content": b" " * (MAX_BODY_BYTES + 1), "headers": JSON}
    yield "POST", path, {"content": b"[" * 65 + b"]" * 65, "headers": JSON}
    yield "POST", path, {"json": [1] * (MAX_VALUES + 1)}
    yield "POST", path, {"content": json.dumps(values[0])}
    yield "POST", path + "?limit=1", {"json": values[0]}
    for key in ("once", "once", "", "ö"):
        headers = JSON | {"Idempotency-Key": key.encode("latin-1")}
        yield "POST", path, {"content": json.dumps(values[0]), "headers": headers}


def access(method: str, path: str, weak: str, **kw: Any) -> Iterator[Case]:
    """Ask as nobody, with tokens that are none, without the scope, and in every form of a path."""
    for token in ("", "Bearer", "Bearer nobody12345", "Basic admin123", f"Bearer {weak}"):
        yield method, path, {**kw, "headers": {"Authorization": token}}
        yield method, path + "?colour=red", {**kw, "headers": {"Authorization": token}}
    yield method, path + "/", kw
    yield method, path.removeprefix("/api"), kw
    yield "HEAD", path, {}
    yield "PUT", path, {}
    yield "OPTIONS", path, {}


def of_customer() -> Iterator[Case]:
    for key in (
        "1",
        "2",
        "0",
        "99",
        "007",
        "9" * 18,
        "9" * 19,
        "-1",
        "x",
        UID + "1",
        "%31",
        "1%2F2",
    ):
        yield "GET", f"/api/customers/{key}", {}
    for tag in ('"1"', '"2"', 'W/"1"', "*", "x", "", "x" * 501):
        yield "GET", "/api/customers/1", {"headers": {"If-None-Match": tag}}
    yield "GET", "/api/customers/1?colour=red", {}


CASES: dict[str, list[Case]] = {
    "crm_api": [
        *of_customer(),
        *access("GET", "/api/customers/1", "nobody12345"),
        *queries("/api/customers", "cursor=aWQ6MQ", "cursor=", "cursor=!", "cursor=LWlkOjE"),
        *queries("/api/customers", "sort=-id", "q=jane&limit=1", f"cursor={'x' * 201}"),
        *access("GET", "/api/customers", "nobody12345"),
        *queries(
            "/api/tickets", "cursor=aWQ6MQ", "sort=-id", "status=open", "status=x", "q=parcel"
        ),
        *queries("/api/tickets", "status=open&status=closed", "sort=due", "include=customer"),
        *access("GET", "/api/tickets", "nobody12345"),
        *queries(
            "/api/events", "after=!", "types=customer.created", "types=x", "wait=1", "wait=26"
        ),
        *queries("/api/events", "wait=0.5", "wait=-1", "wait=", "wait=nan", f"after={'x' * 201}"),
        *access("GET", "/api/events", "agent123"),
        *bodies(
            "/api/customers",
            {"name": "Ann", "email": "ann@example.com"},
            {"name": "Ann", "email": "ann@example.com"},
            {"name": " Bo\u2028b ", "email": "Bob@Example.com", "metadata": {"a": "é"}},
            {"name": "", "email": "x", "colour": "red"},
            {},
        ),
        *access(
            "POST", "/api/customers", "viewer123", json={"name": "E", "email": "e@example.com"}
        ),
    ],
    "inventory_api": [
        *bodies(
            "/package-requests/batch",
            [{"customer_id": UID + "1"}, {"customer_id": UID + "2"}],
            [{"customer_id": UID + "1"}, {}, 1, {"customer_id": "x"}, {"colour": "red"}],
            [{"customer_id": UID + "1"}] * 501,
            [],
            {},
        ),
        *access("POST", "/package-requests/batch", "viewer123", json=[{"customer_id": UID + "3"}]),
    ],
}


def hot_routes(app: FastAPI) -> list[HotRoute]:
    routes = [route for route in app.routes if isinstance(route, HotRoute)]
    return [route for route in routes if hasattr(route.endpoint, "by_hand")]


class Sent(NamedTuple):
    """What came back, and whether a hand answered it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    is_by_hand: bool


async def send(client: httpx.AsyncClient, case: Case, first_id: int, *, is_hot: bool) -> Sent:
    """Send a request with the hands in place, or with the hands taken away."""
    method, path, kw = case
    answered: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        for route in hot_routes(client.app):  # type: ignore[attr-defined]
            hand = route.endpoint.by_hand  # type: ignore[attr-defined]

            async def noted(request: Any, hand: Any = hand) -> Any:
                response = await hand(request) if is_hot else None
                answered.append(response is not None)
                return response

            patch.setattr(route.endpoint, "by_hand", noted)
        ids = count(first_id)
        patch.setattr(clock, "new_id", lambda: str(UUID(int=next(ids))))
        patch.setattr(clock, "now", lambda: NOW)
        answer = await client.request(method, path, **kw)
    headers = sorted(answer.headers.items())
    return Sent(answer.status_code, headers, answer.content, any(answered))


async def fill(client: httpx.AsyncClient) -> None:
    for number in (1, 2, 3):
        jane = {"name": f"Jané\u2028 {number}", "email": f"jane{number}@example.com"}
        await client.post("/api/customers", json=jane)
        ticket = {"customer_id": number, "subject": "A parcel", "description": "It is open."}
        await client.post("/api/tickets", json=ticket)


@pytest.fixture
def urls(service: str, new_database: NewDatabase) -> list[str]:
    return [new_database(service), new_database(service)]


@pytest.fixture
async def twins(
    service: str, urls: list[str]
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """One service twice, on databases of their own: writes are compared between the two."""
    kind = type(SERVICES[service].settings())
    apps = [SERVICES[service].app(kind(database_url=url)) for url in urls]
    headers = {"token": "admin123", "X-Request-ID": "one-and-the-same"}
    async with running(apps[0], **headers) as hot, running(apps[1], **headers) as cold:
        if service == "crm_api":
            await fill(hot)
            await fill(cold)
        yield hot, cold


@pytest.mark.parametrize("service", HOT)
async def test_hot_routes_answer_as_without_their_hands(
    service: str, twins: tuple[httpx.AsyncClient, httpx.AsyncClient]
) -> None:
    hot, cold = twins
    by_hand = Counter[str]()

    for place, case in enumerate(CASES[service]):
        first_id = (place + 1) * 1_000_000
        with_hands = await send(hot, case, first_id, is_hot=True)
        without = await send(cold if case[0] == "POST" else hot, case, first_id, is_hot=False)

        assert with_hands[:3] == without[:3], case
        assert with_hands.status != 500, case
        by_hand[f"{case[0]} {case[1].partition('?')[0]}"] += with_hands.is_by_hand

    for path in BY_HAND[service]:
        assert by_hand[path] > 0, path


@pytest.fixture
def crm(new_database: NewDatabase) -> FastAPI:
    service = SERVICES["crm_api"]
    app: FastAPI = service.app(type(service.settings())(database_url=new_database("crm_api")))
    return app


@pytest.mark.engine("sqlite")
async def test_a_hot_answer_leaves_nothing_to_the_garbage_collector(crm: FastAPI) -> None:
    """A circle for each request, as of a scope that holds its request, costs a tenth of it."""
    headers = [(b"host", b"crm"), (b"authorization", b"Bearer viewer123")]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(_: Any) -> None:
        """Drop it."""

    async def ask() -> None:
        scope = {"type": "http", "method": "GET", "path": "/api/customers", "headers": headers}
        await crm({**scope, "query_string": b"limit=5"}, receive, send)

    async with crm.router.lifespan_context(crm):
        for _ in range(20):
            await ask()
        gc.collect()
        gc.disable()
        try:
            for _ in range(100):
                await ask()
            assert gc.collect() < 100
        finally:
            gc.enable()


POSTS = {"crm_api": "/api/customers", "inventory_api": "/package-requests/batch"}


async def too_much() -> AsyncIterator[bytes]:
    for _ in range(20):
        yield b" " * 100_000


@pytest.mark.parametrize("service", POSTS)
async def test_a_body_that_grows_too_large_is_refused_alike(
    service: str, twins: tuple[httpx.AsyncClient, httpx.AsyncClient]
) -> None:
    hot, _ = twins
    sent = [
        await send(
            hot,
            ("POST", POSTS[service], {"content": too_much(), "headers": JSON}),
            1,
            is_hot=is_hot,
        )
        for is_hot in (True, False)
    ]

    assert sent[0] == sent[1]
    assert sent[0].status == 413


@pytest.mark.parametrize("service", POSTS)
async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_bug(
    service: str,
    twins: tuple[httpx.AsyncClient, httpx.AsyncClient],
    caplog: pytest.LogCaptureFixture,
) -> None:
    hot, _ = twins
    headers = {**hot.headers, "content-type": "application/json", "content-length": "99"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": POSTS[service],
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    coming = [{"type": "http.request", "body": b'{"name"', "more_body": True}]
    sent = []

    async def receive() -> Any:
        return coming.pop() if coming else {"type": "http.disconnect"}

    async def note(message: Any) -> None:
        sent.append(message)

    await hot.app(scope, receive, note)  # type: ignore[attr-defined]

    assert sent[0]["status"] == 400
    assert not caplog.records


def test_only_the_named_routes_are_hot() -> None:
    for name, service in SERVICES.items():
        app = service.app(type(service.settings())(database_url=f"sqlite:///{ROOT}/nowhere.db"))
        found = {f"{method} {route.path}" for route in hot_routes(app) for method in route.methods}

        assert found == HOT.get(name, set())


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("service", HOT)
def test_without_hot_the_description_is_the_same(service: str) -> None:
    program = (
        "from service_kit.web import auth, hot\n"
        "hot.HotRoute, hot.hot = auth.GuardedRoute, lambda by_hand: lambda endpoint: endpoint\n"
        f"from tests.conftest import SERVICES\n"
        f"service = SERVICES[{service!r}]\n"
        "app = service.app(type(service.settings())(database_url='sqlite:///nowhere.db'))\n"
        "assert not any(hasattr(route.endpoint, 'by_hand') for route in app.routes)\n"
        "print(app.state.description().decode())"
    )
    command = [sys.executable, "-c", program]
    without = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60)
    known = SERVICES[service]
    app = known.app(type(known.settings())(database_url=f"sqlite:///{ROOT}/nowhere.db"))

    assert json.loads(without.stdout) == app.openapi()
