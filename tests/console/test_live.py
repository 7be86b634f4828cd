"""The stream that tells a page of news: of what, to whom, how many, and until when."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from console import streams
from console.pages import live
from service_kit.database import DatabaseUnavailable
from tests.console.conftest import admin_calls, app_of, send, sign_in
from tests.crm_api.conftest import prune

pytestmark = pytest.mark.engine("sqlite")

SECONDS = 15


class Stream:
    """What a browser has got of a stream; it leaves by setting `left`."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.text = ""
        self.has_ended = False
        self.left = asyncio.Event()
        self._more = asyncio.Event()

    async def until(self, pattern: str) -> re.Match[str]:
        """Wait until something has come."""
        async with asyncio.timeout(SECONDS):
            while (found := re.search(pattern, self.text)) is None:
                assert not self.has_ended, self.text
                self._more.clear()
                await self._more.wait()
        return found

    async def ended(self) -> str:
        async with asyncio.timeout(SECONDS):
            while not self.has_ended:
                self._more.clear()
                await self._more.wait()
        return self.text

    async def run(self, app: FastAPI, scope: dict[str, Any]) -> None:
        has_asked = False

        async def receive() -> dict[str, Any]:
            nonlocal has_asked
            if not has_asked:
                has_asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self.left.wait()
            return {"type": "http.disconnect"}

        async def got(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            else:
                self.text += message["body"].decode()
            self._more.set()

        try:
            await app(scope, receive, got)  # type: ignore[arg-type]
        finally:
            self.has_ended = True
            self._more.set()


@asynccontextmanager
async def listening(
    browser: httpx.AsyncClient, after: str = "", *, is_on_lambda: bool = False, **headers: str
) -> AsyncIterator[Stream]:
    """Open a stream as a page does, and leave it at the end."""
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    given = {"host": "test", "accept": "text/event-stream", "cookie": cookies, **headers}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/console/live",
        "raw_path": b"/console/live",
        "root_path": "",
        "query_string": f"after={after}".encode() if after else b"",
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in given.items()],
        "client": ("127.0.0.1", 4711),
        "server": ("test", 80),
    }
    if is_on_lambda:
        scope["aws.context"] = object()
    stream = Stream()
    task = asyncio.create_task(stream.run(app_of(browser), scope))
    try:
        yield stream
    finally:
        stream.left.set()
        async with asyncio.timeout(SECONDS):
            await task


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "CHECK_SECONDS", 0.2)
    monkeypatch.setattr(live, "LEAST_SECONDS", 0.01)


async def cursor_of(browser: httpx.AsyncClient, path: str = "/console") -> str:
    """Return the cursor that a page was made behind."""
    page = await browser.get(path)
    found = re.search(r'data-stream="/console/live" data-cursor="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


async def register(browser: httpx.AsyncClient, name: str) -> None:
    new = {"name": name, "email": f"{name}@example.com"}
    await admin_calls(browser, "POST", "/api/customers", json=new)


@pytest.mark.parametrize("path", ["/console", "/console/tickets", "/console/tickets/1"])
async def test_a_page_is_told_of_what_happened_since_it_was_made(
    browser: httpx.AsyncClient, path: str
) -> None:
    await sign_in(browser, "agent")
    cursor = await cursor_of(browser, path)
    await register(browser, "ada")

    async with listening(browser, cursor) as stream:
        first = await stream.until(r"id: (\S+)\nevent: news\ndata: (\d+)\n\n")
        await register(browser, "bob")
        await stream.until(rf"data: {int(first[2]) + 1}\n\n")

    assert stream.status == 200
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["cache-control"] == "no-store"
    assert "content-security-policy" in stream.headers
    assert stream.text.startswith("retry: 2000\n\n")
    assert "ada" not in stream.text, "it says that something happened, not what"


async def test_nothing_is_told_where_nothing_happens(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)
    cursor = await cursor_of(browser)

    async with listening(browser, cursor) as stream:
        await stream.until(r"(:\n\n){2}")

    assert "news" not in stream.text


async def test_after_a_cut_the_last_id_says_where_to_go_on(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)
    at_first = await cursor_of(browser)
    await register(browser, "ada")
    async with listening(browser, at_first) as stream:
        last = (await stream.until(r"id: (\S+)\n"))[1]

    async with listening(browser, at_first, last_event_id=last) as stream:
        await stream.until(r":\n\n")
        assert "news" not in stream.text
        await register(browser, "bob")
        await stream.until("event: news")


@pytest.mark.parametrize("cursor", ["nonsense", "MDE5YTVkM2M6NDE", "x" * 300])
async def test_a_cursor_of_another_feed_means_that_all_may_be_new(
    browser: httpx.AsyncClient, cursor: str
) -> None:
    await sign_in(browser)

    async with listening(browser, cursor) as stream:
        told = await stream.until(r"id: (\S+)\nevent: news")

    assert told[1] == await cursor_of(browser)


async def test_events_that_are_deleted_are_news_too(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)
    await cursor_of(browser)
    first = (await admin_calls(browser, "GET", "/api/events?limit=1"))["next_cursor"]
    await register(browser, "ada")
    await prune(browser)

    async with listening(browser, first) as stream:
        await stream.until("event: news")


async def test_a_session_that_is_ended_elsewhere_ends_its_streams(
    browser: httpx.AsyncClient,
) -> None:
    await sign_in(browser)
    cursor = await cursor_of(browser)

    async with listening(browser, cursor) as stream:
        await stream.until(":\n\n")
        cookies = dict(browser.cookies)
        await send(browser, "/console/sign-out-everywhere")
        await stream.ended()
        browser.cookies.update(cookies)

    async with listening(browser, cursor) as stream:
        await stream.ended()
    assert stream.status == 204


async def test_a_token_that_is_revoked_ends_the_streams_of_its_session(
    browser: httpx.AsyncClient,
) -> None:
    new = {"name": "desk", "role": "agent"}
    issued = await admin_calls(browser, "POST", "/api/tokens", json=new)
    await sign_in(browser, token=issued["token"])
    cursor = await cursor_of(browser)

    async with listening(browser, cursor) as stream:
        await stream.until(":\n\n")
        await admin_calls(browser, "DELETE", f"/api/tokens/{issued['id']}")
        await stream.ended()

    assert (await browser.get("/console")).status_code == 303


async def test_a_stop_ends_every_stream(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CHECK_SECONDS", 25.0)
    await sign_in(browser)
    cursor = await cursor_of(browser)

    async with listening(browser, cursor) as waiting, listening(browser) as sleeping:
        await waiting.until("retry: ")
        await sleeping.until("event: news")
        app_of(browser).state.stopping.begin()
        await waiting.ended()
        await sleeping.ended()


async def test_a_session_has_so_many_streams_and_no_more(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)
    cursor = await cursor_of(browser)
    site = app_of(browser).state.console.site

    async with listening(browser, cursor) as first:
        await first.until(":\n\n")
        for _ in range(streams.MOST_OF_SESSION - 1):
            assert site.streams.take(next(iter(site.streams._of)))
        async with listening(browser, cursor) as refused:
            await refused.ended()
        assert refused.status == 429
        assert refused.headers["retry-after"] == "60"
        for _ in range(streams.MOST_OF_SESSION - 1):
            site.streams.give_back(next(iter(site.streams._of)))

    assert not site.streams._of, "who leaves gives back what it had"
    async with listening(browser, cursor) as again:
        await again.until(":\n\n")


async def test_all_sessions_together_have_a_limit() -> None:
    every = streams.Streams(stopping=None)  # type: ignore[arg-type]
    most = streams.MOST_IN_ALL // streams.MOST_OF_SESSION

    for session in range(most):
        for _ in range(streams.MOST_OF_SESSION):
            assert every.take(bytes([session]))

    assert not every.take(b"another")
    every.give_back(bytes([0]))
    assert every.take(b"another")


async def test_a_stream_takes_no_place_among_the_requests_at_work(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CHECK_SECONDS", 25.0)
    await sign_in(browser)
    cursor = await cursor_of(browser)
    capacity = app_of(browser).state.capacity

    async with listening(browser, cursor) as stream:
        await stream.until("retry: ")
        async with asyncio.timeout(SECONDS):
            while capacity.waiting.taken != 1:
                await browser.get("/health/ready")
        assert capacity.at_work.taken == 0

    assert capacity.at_work.taken == capacity.waiting.taken == 0


async def test_a_token_that_reads_no_customers_is_told_of_nothing(
    browser: httpx.AsyncClient,
) -> None:
    new = {"name": "desk", "role": "agent", "scopes": ["tickets:read"]}
    issued = await admin_calls(browser, "POST", "/api/tokens", json=new)
    await sign_in(browser, token=issued["token"])

    page = await browser.get("/console/tickets")
    async with listening(browser) as stream:
        await stream.ended()

    assert page.status_code == 200
    assert "data-stream" not in page.text
    assert stream.status == 204


async def test_lambda_has_no_streams(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)

    async with listening(browser, await cursor_of(browser), is_on_lambda=True) as stream:
        await stream.ended()

    assert stream.status == 204


async def test_a_stream_outlives_a_database_that_is_away(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)
    cursor = await cursor_of(browser)
    site = app_of(browser).state.console.site
    kept = site.sessions

    class Away:
        def __init__(self) -> None:
            self.asked = 0
            self.is_asked_again = asyncio.Event()

        async def find(self, key: bytes) -> None:
            self.asked += 1
            if self.asked > 1:
                self.is_asked_again.set()
            raise DatabaseUnavailable("It does not answer.")

    async with listening(browser, cursor) as stream:
        await stream.until(":\n\n")
        site.sessions = away = Away()
        async with asyncio.timeout(SECONDS):
            await away.is_asked_again.wait()
        site.sessions = kept
        await register(browser, "ada")
        await stream.until("event: news")


async def test_streams_are_counted_apart_from_pages(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)
    async with listening(browser, await cursor_of(browser)) as stream:
        await stream.until(":\n\n")

    figures = (await browser.get("/metrics")).text

    assert 'route="/console/live"' in figures
    assert 'route="/console"' in figures
