"""What is refused when there is too much, and ended when it takes too long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Query, Request
from sqlalchemy import Connection, text

from service_kit.database import Database
from service_kit.database.postgres.connect import Connections
from service_kit.process.settings import demo_token
from service_kit.web import overload
from service_kit.web.auth import GuardedRoute, Public
from service_kit.web.dependencies import DatabaseDep
from service_kit.web.overload import Capacity, slot_of
from tests.conftest import bearer, running
from tests.service_kit.conftest import CanRead, add, create_app, labels

pytestmark = pytest.mark.engine("sqlite")


class Gate:
    """A service with routes that take as long as a test wants."""

    def __init__(self) -> None:
        self.inside = 0
        self.arrived = asyncio.Event()
        self.opened = asyncio.Event()
        self.router = APIRouter(route_class=GuardedRoute)
        for_all = [Public]
        self.router.add_api_route("/work", self.work, methods=["GET", "POST"], dependencies=for_all)
        self.router.add_api_route("/news", self.news, dependencies=for_all)
        self.router.add_api_route("/guarded", self.guarded)

    async def work(self) -> str:
        await self._stay()
        return "done"

    async def guarded(self, _: CanRead) -> str:
        return await self.work()

    async def news(self, request: Request, wait: Annotated[float, Query()]) -> str:
        with slot_of(request).waiting(wait):
            await self._stay()
        return "news"

    async def _stay(self) -> None:
        self.inside += 1
        self.arrived.set()
        await self.opened.wait()

    async def has(self, number: int) -> None:
        while self.inside < number:
            self.arrived.clear()
            await asyncio.wait_for(self.arrived.wait(), 5)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture(autouse=True)
def _refusals_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "PAUSE_SECONDS", 0)


@pytest.fixture
async def client(database_url: str, gate: Gate) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app(database_url, gate.router), token="admin123") as client:
        yield client


@pytest.fixture
def capacity(client: httpx.AsyncClient) -> Capacity:
    app: FastAPI = client.app  # type: ignore[attr-defined]
    found: Capacity = app.state.capacity
    return found


def caller(
    client: httpx.AsyncClient, address: str = "192.0.2.1", role: str = "admin"
) -> httpx.AsyncClient:
    """Give a client that has one address, and a token of this role."""
    transport = httpx.ASGITransport(client.app, client=(address, 1))  # type: ignore[attr-defined]
    headers = bearer(demo_token(role))
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)


@asynccontextmanager
async def underway(
    client: httpx.AsyncClient, gate: Gate, *paths: str
) -> AsyncIterator[list[asyncio.Task[httpx.Response]]]:
    """Have requests in their handlers, and let them go at the end."""
    before = gate.inside
    tasks = [asyncio.create_task(client.get(path)) for path in paths]
    await gate.has(before + len(tasks))
    yield tasks
    gate.opened.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 5)


def assert_refused(answer: httpx.Response, slug: str = "overloaded") -> None:
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:problem:{slug}"


async def test_more_than_a_number_at_once_is_refused_and_the_rest_served(
    client: httpx.AsyncClient, gate: Gate, capacity: Capacity
) -> None:
    capacity.at_work.most = 3

    async with underway(client, gate, "/work", "/work", "/work") as tasks:
        assert_refused(await client.get("/api/boxes"))
        for path in ("/health", "/health/ready", "/metrics"):
            assert (await client.get(path)).status_code == 200

    assert [(await task).status_code for task in tasks] == [200] * 3
    assert (await client.get("/api/boxes")).status_code == 200


async def test_those_who_wait_for_news_take_nobodys_place_and_have_a_bound_of_their_own(
    client: httpx.AsyncClient, gate: Gate, capacity: Capacity
) -> None:
    capacity.at_work.most = 2
    capacity.waiting.most = 3

    async with underway(client, gate, *["/news?wait=5"] * 3) as waiting:
        assert_refused(await client.get("/news?wait=5"))
        assert (await client.get("/api/boxes")).status_code == 200
        async with underway(client, gate, "/work", "/work"):
            assert_refused(await client.get("/api/boxes"))

    assert [(await task).status_code for task in waiting] == [200] * 3
    assert (await client.get("/news?wait=5")).status_code == 200


async def test_a_caller_that_goes_away_leaves_its_place(
    client: httpx.AsyncClient, gate: Gate, capacity: Capacity
) -> None:
    capacity.at_work.most = capacity.waiting.most = 1
    for number, path in enumerate(["/work", "/news?wait=5", "/work", "/news?wait=5"], start=1):
        task = asyncio.create_task(client.get(path))
        await gate.has(number)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert (await client.get("/api/boxes")).status_code == 200


async def test_a_handler_that_takes_too_long_is_ended(
    client: httpx.AsyncClient, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload, "HANDLER_SECONDS", 0.02)

    assert_refused(await asyncio.wait_for(client.get("/work"), 5), "took-too-long")
    assert_refused(await asyncio.wait_for(client.post("/work"), 5), "took-too-long")
    # A wait has its own time, and then the handler's once more.
    assert_refused(await asyncio.wait_for(client.get("/news?wait=0.01"), 5), "took-too-long")
    monkeypatch.setattr(overload, "HANDLER_SECONDS", 10)
    async with underway(client, gate, "/work", "/news?wait=5") as tasks:
        pass
    assert [(await task).status_code for task in tasks] == [200, 200]


async def test_a_slow_body_does_not_use_up_the_time_of_the_handler(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload, "HANDLER_SECONDS", 0.5)

    async def slowly() -> AsyncIterator[bytes]:
        for piece in (b'{"label"', b': "box"', b"}"):
            await asyncio.sleep(0.3)
            yield piece

    answer = await client.post(
        "/api/boxes", content=slowly(), headers={"content-type": "application/json"}
    )

    assert answer.status_code == 201


@pytest.mark.parametrize("path", ["/guarded", "/work", "/news?wait=5"])
async def test_a_caller_leaves_a_quarter_to_the_others(
    client: httpx.AsyncClient, gate: Gate, capacity: Capacity, path: str
) -> None:
    capacity.at_work.most = capacity.waiting.most = 8

    async with caller(client) as greedy, caller(client, "192.0.2.2", "viewer") as other:
        async with underway(greedy, gate, *[path] * 6), underway(other, gate, path, path):
            assert_refused(await greedy.get(path))
            assert_refused(await other.get(path))
        assert [(await greedy.get(path)).status_code for _ in range(7)] == [200] * 7

    assert (capacity.at_work.taken, capacity.waiting.taken) == (0, 0)


async def test_tokens_of_one_address_have_a_share_each(
    client: httpx.AsyncClient, gate: Gate, capacity: Capacity
) -> None:
    capacity.at_work.most = 8

    async with (
        caller(client) as greedy,
        caller(client, role="viewer") as neighbour,
        underway(greedy, gate, *["/guarded"] * 6),
        underway(neighbour, gate, *["/guarded"] * 2),
    ):
        assert_refused(await neighbour.get("/guarded"))


async def test_a_body_that_is_still_coming_holds_no_place(
    client: httpx.AsyncClient, capacity: Capacity
) -> None:
    capacity.at_work.most = 1
    body = Body()

    async with caller(client) as slow:
        tasks = [asyncio.create_task(body.post(slow, f"box {number}")) for number in range(3)]
        await body.is_coming(3)
        assert (await client.get("/api/boxes")).status_code == 200
        body.end.set()
        statuses = sorted([(await task).status_code for task in tasks])

    # What is complete at the same time wants the only place.
    assert set(statuses) <= {201, 503}
    assert statuses[0] == 201
    assert capacity.at_work.taken == 0


async def test_the_bodies_of_a_caller_leave_memory_to_those_of_others(
    client: httpx.AsyncClient, capacity: Capacity
) -> None:
    capacity.body_bytes.most = 400
    body = Body(b'{"label": "much"' + b" " * 84)

    async with caller(client) as greedy:
        tasks = [asyncio.create_task(body.post(greedy, "")) for _ in range(3)]
        await body.is_coming(3)
        assert capacity.body_bytes.taken == 300
        async with caller(client, "192.0.2.2") as same, caller(client, "192.0.2.3") as other:
            assert_refused(await same.post("/api/boxes", json={"label": "of the same token"}))
            assert (await other.post("/echo", json={"label": "of another"})).status_code == 200
        body.end.set()
        await asyncio.gather(*tasks)

    assert capacity.body_bytes.taken == 0


async def test_a_refusal_is_sent_after_a_pause_in_which_its_body_is_dropped(
    client: httpx.AsyncClient, capacity: Capacity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload, "PAUSE_SECONDS", 3600)
    capacity.at_work.most = 0
    body = Body()

    async with caller(client) as refused:
        task = asyncio.create_task(body.post(refused, "box"))
        await body.is_coming(1)
        body.end.set()
        await body.is_gone(1)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Body:
    """Bodies of which the last byte comes when a test says so."""

    def __init__(self, begin: bytes = b"") -> None:
        self.end = asyncio.Event()
        self._begin = begin
        self._coming = self._gone = 0
        self._news = asyncio.Condition()

    async def post(self, client: httpx.AsyncClient, label: str) -> httpx.Response:
        headers = {"content-type": "application/json"}
        return await client.post("/api/boxes", content=self._pieces(label), headers=headers)

    async def is_coming(self, number: int) -> None:
        async with self._news, asyncio.timeout(5):
            await self._news.wait_for(lambda: self._coming == number)

    async def is_gone(self, number: int) -> None:
        async with self._news, asyncio.timeout(5):
            await self._news.wait_for(lambda: self._gone == number)

    async def _pieces(self, label: str) -> AsyncIterator[bytes]:
        yield self._begin or f'{{"label": "{label}"'.encode()
        self._coming += 1
        await self._tell()
        await self.end.wait()
        yield b"}"
        self._gone += 1
        await self._tell()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


@pytest.mark.engine("postgresql")
async def test_a_commit_is_not_cut_by_the_deadline(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload, "HANDLER_SECONDS", 0.05)
    router = APIRouter(route_class=GuardedRoute, dependencies=[Public])

    @router.post("/slowly")
    async def slowly(database: DatabaseDep) -> None:
        await database.write(_add_when_it_may)

    async with running(create_app(database_url, router)) as client:
        other = await Connections(database_url, "other").open()
        await other.execute("SELECT pg_advisory_lock(1)")
        answer = await asyncio.wait_for(client.post("/slowly"), 5)
        await other.close()

        assert_refused(answer, "took-too-long")
        database: Database = client.app.state.database  # type: ignore[attr-defined]
        async with asyncio.timeout(5):
            next_commit = database.committed.next()
            while not await database.read(labels):
                await next_commit
                next_commit = database.committed.next()


def _add_when_it_may(db: Connection) -> None:
    db.execute(text("SELECT pg_advisory_xact_lock(1)"))
    add(db, "box")
