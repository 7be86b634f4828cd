"""The straight way to a handler answers byte by byte as FastAPI's own way does."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import httpx
import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Header, Query, Response
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field

from service_kit.web.app import create_service
from service_kit.web.auth import GuardedRoute, Public
from service_kit.web.body import MAX_BODY_BYTES
from service_kit.web.problems import NotFound
from service_kit.web.straight import StraightWay
from tests.conftest import ROOT, SERVICES, running
from tests.service_kit.conftest import CanRead, CanWrite, Settings

JSON = {"Content-Type": "application/json"}


class Crate(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    label: str
    tags: dict[str, str] = {}


class CrateNew(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    label: Annotated[str, Field(min_length=1, max_length=9)]


class Row(NamedTuple):
    id: int
    label: str
    tags: dict[str, str]
    secret: str = "not shown"


router = APIRouter(prefix="/crates", route_class=GuardedRoute)
public = APIRouter(prefix="/crates", route_class=GuardedRoute, dependencies=[Public])


async def _shelf(
    shelf: Annotated[int | None, Query(ge=1, le=9)] = None,
    kind: Annotated[Literal["oak", "pine"], Query()] = "oak",
) -> str:
    return f"{shelf} {kind}"


async def _since(if_since: Annotated[str | None, Header(max_length=5)] = None) -> str:
    return str(if_since)


@router.get("")
async def list_crates(
    _: CanRead, where: Annotated[str, Depends(_shelf)], limit: Annotated[int, Query(le=5)] = 2
) -> list[Crate]:
    return [Row(n, f"é\u2028{where}", {"a": "b"}) for n in range(limit)]  # type: ignore[misc]


@router.get("/{number}/lid")
async def get_lid(
    number: Annotated[int, InPath(ge=1)],
    response: Response,
    _: CanRead,
    since: Annotated[str, Depends(_since)],
) -> Crate:
    if number == 404:
        raise NotFound("There is no such crate.")
    response.headers["ETag"] = f'"{number}"'
    response.status_code = 203 if number == 203 else 200
    return Crate(id=number, label=since)


@router.post("", status_code=201)
async def add_crate(new: CrateNew, _: CanWrite) -> Crate:
    return Row(1, new.label, {})  # type: ignore[return-value]


@router.post("/all")
async def add_crates(items: Annotated[list[Any], Body(max_length=2)], _: CanWrite) -> Response:
    return Response(str(len(items)), headers={"X-Number": "1"})


@router.delete("/{number}", status_code=204)
async def remove_crate(number: int, _: CanWrite) -> None:
    return None


@router.get("/wrong", response_model=Crate)
async def wrong(_: CanRead) -> dict[str, Any]:
    return {"id": "none"}


# What FastAPI has to do itself: lists in a query, and anything in a cookie.
@router.get("/tagged")
async def tagged(_: CanRead, tag: Annotated[list[str], Query()]) -> list[str]:
    return tag


@public.get("/open")
async def look() -> Crate:
    return Crate(id=1, label="open")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    folder: Path = tmp_path_factory.mktemp("straight")
    return create_service(
        name="crates",
        description="",
        settings=Settings(database_url=f"sqlite:///{folder}/boxes.db"),
        routers=[router, public],
    )


@pytest.fixture(scope="module")
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with running(app, token="admin123") as client:
        client.headers["X-Request-ID"] = "one-and-the-same"
        yield client


async def both(client: httpx.AsyncClient, app: FastAPI, *args: Any, **kw: Any) -> list[Any]:
    """Send the same request both ways; return all that comes back."""
    way = straight_way(app)
    answers = []
    for find in (way.find, lambda _scope: None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(way, "find", find)
            answer = await client.request(*args, **kw)
        answers.append((answer.status_code, sorted(answer.headers.items()), answer.content))
    return answers


def straight_way(app: FastAPI) -> StraightWay:
    layer: Any = app.middleware_stack
    while not isinstance(layer, StraightWay):
        layer = layer.app
    return layer


PLAIN: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/crates", {}),
    ("GET", "/crates/", {}),
    ("GET", "/crates?limit=0", {}),
    ("GET", "/crates?limit=3&shelf=4&kind=pine", {}),
    ("GET", "/crates/7/lid", {}),
    ("GET", "/crates/7/lid", {"headers": {"If-Since": "now"}}),
    ("GET", "/crates/203/lid", {}),
    ("GET", "/crates/404/lid", {}),
    ("POST", "/crates", {"json": {"label": " a "}}),
    ("POST", "/crates/all", {"json": [1, 2]}),
    ("DELETE", "/crates/7", {}),
    ("GET", "/crates/open", {}),
]
OTHERS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/crates?limit=9", {}),
    ("GET", "/crates?limit=3&other=1", {}),
    ("GET", "/crates?limit=1&limit=3", {}),
    ("GET", "/crates?limit=1&limit=3", {"headers": {"Authorization": "Bearer no"}}),
    ("GET", "/crates/open?limit=1", {}),
    ("POST", "/crates?label=a", {"json": {"label": "a"}}),
    ("GET", "/crates/tagged?tag=a&tags=b", {}),
    ("GET", "/crates?limit=x&shelf=0&kind=elm", {}),
    ("GET", "/crates/x/lid", {}),
    ("GET", "/crates/0/lid", {}),
    ("GET", "/crates/7/lid", {"headers": {"If-Since": "too long"}}),
    ("GET", "/crates//lid", {}),
    ("GET", "/crates/{}/lid", {}),
    ("GET", "/crates/%7B%7D/lid", {"headers": {"Authorization": ""}}),
    ("DELETE", "/crates/{}", {}),
    ("GET", "/crates/7%2Flid", {}),
    ("GET", "/crates/7/lid/more", {}),
    ("GET", "/crates/tagged?tag=a&tag=b", {}),
    ("GET", "/crates/tagged", {}),
    ("PUT", "/crates", {}),
    ("HEAD", "/crates", {}),
    ("GET", "/nothing", {}),
    ("GET", "/crates", {"headers": {"Authorization": "Bearer viewer1234"}}),
    ("POST", "/crates", {"headers": {"Authorization": "Bearer viewer123"}, "json": {}}),
    ("POST", "/crates", {}),
    ("POST", "/crates", {"content": b"", "headers": JSON}),
    ("POST", "/crates", {"content": b"{", "headers": JSON}),
    ("POST", "/crates", {"content": b"null", "headers": JSON}),
    ("POST", "/crates", {"content": b'{"label": NaN}', "headers": JSON}),
    ("POST", "/crates", {"content": b"\xff", "headers": JSON}),
    ("POST", "/crates", {"content": b"a=b"}),
    ("POST", "/crates", {"json": {"label": "", "more": 1}}),
    ("POST", "/crates", {"content": b" " * (MAX_BODY_BYTES + 1), "headers": JSON}),
    ("POST", "/crates/all", {"json": [1, 2, 3]}),
    ("DELETE", "/crates/x", {}),
    ("GET", "/crates/wrong", {}),
]


@pytest.mark.parametrize(("method", "path", "more"), [*PLAIN, *OTHERS])
async def test_both_ways_answer_alike(
    client: httpx.AsyncClient, app: FastAPI, method: str, path: str, more: dict[str, Any]
) -> None:
    straight, fastapi = await both(client, app, method, path, **more)

    assert straight == fastapi


@pytest.mark.parametrize(("method", "path", "more"), PLAIN)
async def test_a_plain_request_needs_no_fastapi(
    client: httpx.AsyncClient,
    app: FastAPI,
    method: str,
    path: str,
    more: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(straight_way(app), "app", None)

    assert (await client.request(method, path, **more)).status_code != 500


async def test_a_body_that_comes_too_long_is_refused_alike(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    class Pieces(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b" " * 100_000

    straight, fastapi = await both(client, app, "POST", "/crates", content=Pieces(), headers=JSON)

    assert straight == fastapi
    assert straight[0] == 413


@pytest.mark.parametrize("is_straight", [True, False])
async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_bug(
    client: httpx.AsyncClient,
    app: FastAPI,
    is_straight: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if not is_straight:
        monkeypatch.setattr(straight_way(app), "find", lambda _scope: None)
    headers = {**client.headers, "content-type": "application/json", "content-length": "99"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/crates",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    coming = [{"type": "http.request", "body": b'{"label"', "more_body": True}]
    sent = []

    async def receive() -> Any:
        return coming.pop() if coming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)

    assert sent[0]["status"] == 400
    assert not caplog.records


@pytest.mark.parametrize("name", SERVICES)
def test_each_route_of_the_services_is_plain(name: str) -> None:
    service = SERVICES[name]
    app = service.app(type(service.settings())(database_url=f"sqlite:///{ROOT}/nowhere.db"))
    way = straight_way(app)

    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            scope = {"method": method.upper(), "path": path.replace("{", "x").replace("}", "")}
            found = way.find(scope)
            # A reference may hold slashes, which this way does not read.
            assert (found is None) == (path == "/api/customers/by-ref/{external_ref}"), path
            assert found is None or found[0].route.path == path
