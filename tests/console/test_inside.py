"""What the console downloads from the app that it is mounted in is passed on as it comes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from console.inside import AS_IT_COMES, Inside

SECONDS = 15
HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/csv")]}


def piece(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def opened(app: ASGIApp) -> httpx.Response:
    client = httpx.AsyncClient(transport=Inside(app), base_url="http://crm")
    request = client.build_request(
        "GET", "/a%20b?c=d", headers={"X-Who": "me"}, extensions={AS_IT_COMES: True}
    )
    return await client.send(request, stream=True)


@pytest.fixture(autouse=True)
async def _in_time() -> AsyncIterator[None]:
    async with asyncio.timeout(SECONDS):
        yield


async def test_a_piece_comes_before_the_next_one_is_made() -> None:
    goes_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (scope["path"], scope["query_string"]) == ("/a b", b"c=d")
        assert (b"x-who", b"me") in scope["headers"]
        assert (await receive())["more_body"] is False
        await send(HEAD)
        await send(piece(b"one"))
        await goes_on.wait()
        await send(piece(b"two", more=False))

    answer = await opened(app)
    pieces = answer.aiter_bytes()

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv")
    assert await anext(pieces) == b"one"
    goes_on.set()
    assert await anext(pieces) == b"two"
    assert [rest async for rest in pieces] == []
    await answer.aclose()


async def test_the_app_makes_no_more_than_is_taken() -> None:
    made = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal made
        await send(HEAD)
        for number in range(100):
            await send(piece(b"x"))
            made = number

    answer = await opened(app)
    await anext(answer.aiter_bytes())
    for _ in range(50):
        await asyncio.sleep(0)

    assert made < 5
    await answer.aclose()


async def test_who_leaves_ends_the_call() -> None:
    has_ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(HEAD)
            await send(piece(b"one"))
            await asyncio.Event().wait()
        finally:
            has_ended.set()

    answer = await opened(app)
    assert await anext(answer.aiter_bytes()) == b"one"
    await answer.aclose()

    assert has_ended.is_set()


@pytest.mark.parametrize("pieces", [0, 2])
async def test_an_app_that_breaks_off_is_no_file_that_is_whole(pieces: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(HEAD)
        for _ in range(pieces):
            await send(piece(b"x"))
        raise ZeroDivisionError

    answer = await opened(app)

    with pytest.raises(ZeroDivisionError):
        await answer.aread()


async def test_an_app_that_fails_at_once_says_so() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await opened(app)
