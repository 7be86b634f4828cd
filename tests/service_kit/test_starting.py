"""What a service answers before it is there, and how a start ends that comes to nothing."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service_kit.process import starting
from service_kit.process.starting import Starting
from tests.conftest import bearer
from tests.service_kit.conftest import Settings, create_app, new_sqlite

BOX = {"label": "a box"}


class Start:
    """A start that waits, in its thread, until it is let go on."""

    def __init__(self, load: Callable[[], FastAPI | None]) -> None:
        self._may_go_on = threading.Event()
        self._load = load
        self.starting = Starting(
            "boxes", Settings(database_url="sqlite:///boxes.db"), self._wait_and_load
        )
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.accepts = asyncio.Event()

    def go_on(self) -> None:
        self._may_go_on.set()

    async def run(self) -> None:
        """Do what a server does with its app's lifespan."""
        await self.inbox.put({"type": "lifespan.startup"})
        await self.starting({"type": "lifespan"}, self.inbox.get, self._take)

    async def end(self) -> None:
        self.starting.stop()
        await self.inbox.put({"type": "lifespan.shutdown"})

    async def _take(self, message: Any) -> None:
        assert message == {"type": "lifespan.startup.complete"}
        self.accepts.set()

    def _wait_and_load(self) -> FastAPI | None:
        assert self._may_go_on.wait(20)
        return self._load()


@asynccontextmanager
async def begun(start: Start) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(start.starting)
    async with (
        asyncio.timeout(20),
        asyncio.TaskGroup() as group,
        httpx.AsyncClient(
            transport=transport, base_url="http://test", headers=bearer("admin123")
        ) as client,
    ):
        group.create_task(start.run())
        await start.accepts.wait()
        yield client
        await start.end()
    start.go_on()  # the thread is to end as well


@pytest.fixture
def boxes(tmp_path: Path) -> Callable[[], FastAPI]:
    return lambda: create_app(new_sqlite(tmp_path))


@pytest.mark.parametrize("path", ["/health", "/health/"])
async def test_a_service_that_loads_says_that_it_is_alive(
    boxes: Callable[[], FastAPI], path: str
) -> None:
    async with begun(Start(boxes)) as client:
        answer = await client.get(path, headers={"X-Request-ID": "mine"})
        named = await client.head(path)

    assert (answer.status_code, answer.text) == (200, '{"status":"ok"}')
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["x-starting"] == "1"
    assert named.status_code == 200
    assert len(named.headers["x-request-id"]) == 32


async def test_a_request_waits_for_the_app_and_is_answered_by_it(
    boxes: Callable[[], FastAPI],
) -> None:
    start = Start(boxes)
    async with begun(start) as client:
        early = [
            asyncio.ensure_future(client.post("/api/boxes", json=BOX)),
            asyncio.ensure_future(client.get("/health/ready")),
            asyncio.ensure_future(client.post("/health")),
        ]
        done, _ = await asyncio.wait(early, timeout=0.05)
        assert not done

        start.go_on()
        answers = await asyncio.gather(*early)
        assert [answer.status_code for answer in answers] == [201, 200, 405]
        assert not any("x-starting" in answer.headers for answer in answers)
        assert (await client.get("/api/boxes")).json() == [{"id": 1, "label": "a box", "shelf": 0}]

    assert start.starting.exit_code == 0
    assert not start.starting.is_loading


async def test_who_has_waited_long_is_told_to_come_again(
    boxes: Callable[[], FastAPI], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "WAIT_SECONDS", 0.01)
    async with begun(Start(boxes)) as client:
        refused = await client.post("/api/boxes?x=1", json=BOX)
        unready = await client.get("/health/ready")

    assert (refused.status_code, unready.status_code) == (503, 503)
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json() == {
        "type": "urn:problem:service-unavailable",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "The service is not there yet, or no longer.",
        "instance": "/api/boxes",
        "request_id": refused.headers["x-request-id"],
    }
    assert unready.json() == {
        "status": "unavailable",
        "app_name": "boxes",
        "version": starting.VERSION,
        "environment": "development",
        "database": "unreachable",
    }


async def test_a_stop_answers_who_waits_and_does_not_wait_for_the_load(
    boxes: Callable[[], FastAPI],
) -> None:
    start = Start(boxes)
    async with begun(start) as client:
        waiting = asyncio.ensure_future(client.post("/api/boxes", json=BOX))
        await asyncio.sleep(0.01)
        await start.end()
        answer = await waiting

    assert answer.status_code == 503
    assert start.starting.exit_code == 0
    assert start.starting.is_loading


async def test_a_start_that_is_refused_ends_the_process_and_answers_who_waits() -> None:
    start = Start(lambda: None)
    async with begun(start) as client:
        waiting = asyncio.ensure_future(client.get("/api/boxes"))
        await asyncio.sleep(0.01)
        start.go_on()
        assert (await waiting).status_code == 503

    assert start.starting.exit_code == 2


async def comes_to_nothing(start: Start) -> None:
    start.go_on()
    async with begun(start) as client:
        assert (await client.get("/api/boxes")).status_code == 503
    assert start.starting.exit_code == 1


async def test_a_load_that_fails_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("a fault")

    await comes_to_nothing(Start(fail))
    assert "RuntimeError: a fault" in caplog.text


async def test_an_app_that_does_not_come_up_is_told_of(
    boxes: Callable[[], FastAPI], caplog: pytest.LogCaptureFixture
) -> None:
    @asynccontextmanager
    async def fail(_: FastAPI) -> AsyncIterator[None]:
        raise RuntimeError("a fault")
        yield

    def load() -> FastAPI:
        app = boxes()
        app.router.lifespan_context = fail
        return app

    await comes_to_nothing(Start(load))
    assert "RuntimeError: a fault" in caplog.text
