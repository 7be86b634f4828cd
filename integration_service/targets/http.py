"""Calls to a remote service: one kept client, a deadline for each call, a cap on each answer."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Generic, NoReturn, TypeVar

import httpx
from opentelemetry.trace import SpanKind
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)
from tenacity.wait import wait_base

from integration_service.targets.failures import (
    CallFailed,
    Timeout,
    TooLarge,
    Transient,
    classify_answer,
    classify_exception,
    classify_unreadable,
    is_blip,
)
from integration_service.targets.pace import Pace
from service_kit.process import tracing
from service_kit.process.logs import current_request_id, new_request_id
from service_kit.process.outgoing import ssl_context_for
from service_kit.web.fields import Line

CALL_SECONDS = 10.0
CONNECT_SECONDS = 3.0
LARGEST_ANSWER = 4 * 1024 * 1024
BLIP_TRIES = 3
BLIP_SECONDS = 3.0
BLIP_WAIT = wait_random_exponential(multiplier=0.05, max=1.0)
PAGE = 500
# Whatever it means to its service, it can be kept and be sent back.
CURSOR = re.compile(r"[\x21-\x7e]{1,200}")

T = TypeVar("T", bound=BaseModel)
R = TypeVar("R")
Uid = Annotated[Line, Field(min_length=1, max_length=64)]


@dataclass(frozen=True, slots=True)
class Answer:
    """A success: its status, its headers, its JSON."""

    status: int
    headers: httpx.Headers
    body: Any


class Transport(httpx.AsyncHTTPTransport):
    """Reports a connection that is reset while it is made as such, not as a bug.

    Of such a one uvloop has no socket any more, which is where anyio then looks for its addresses.
    Proxies and load balancers reset like that while nobody is behind them.
    """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except AttributeError as error:
            if error.obj is None and error.name == "getpeername":
                raise httpx.ConnectError("The connection was reset as it was made.") from error
            raise


async def repeat_after_blips(
    call: Callable[[], Awaitable[R]], wait: wait_base = BLIP_WAIT, *, once: bool
) -> R:
    """Make a call, and repeat it at once a few times after a blip; not at all with `once`."""
    began_at = time.monotonic()
    try:
        # By itself, since what repeats it takes half as long as a call.
        return await call()
    except CallFailed as failure:
        if once or not is_blip(failure):
            raise
        failed = [failure]

    async def first_fail_then_call() -> R:
        if failed:
            raise failed.pop()
        return await call()

    repeating = AsyncRetrying(
        retry=retry_if_exception(is_blip),
        stop=stop_after_attempt(BLIP_TRIES)
        | stop_after_delay(began_at + BLIP_SECONDS - time.monotonic()),
        wait=wait,
        reraise=True,
    )
    return await repeating(first_fail_then_call)


class Link:
    """Calls one remote service. Every failure leaves as a CallFailed."""

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        ca_file: Path | None = None,
        call_seconds: float = CALL_SECONDS,
        blip_wait: wait_base = BLIP_WAIT,
    ) -> None:
        self._call_seconds = call_seconds
        self._blip_wait = blip_wait
        self._pace = Pace()
        self._base_url = base_url.rstrip("/")
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            # A small compressed answer can unfold to more than there is memory.
            "Accept-Encoding": "identity",
            "User-Agent": "crmsys-integration",
        }
        # Without a client around it, which would keep cookies and look into redirects, and takes a
        # fifth of the time of a call. To make one costs 25 ms, so it lives as long as the process.
        self._transport = Transport(verify=ssl_context_for(base_url, ca_file), trust_env=False)

    async def close(self) -> None:
        await self._transport.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        extra_seconds: float = 0.0,
        once: bool = False,
    ) -> Answer:
        """Send a request that is safe to repeat, and repeat it at once a few times after a blip.

        `extra_seconds` is how much longer than usual it may take; `once` forbids the repeating.
        """
        # The same id on each repetition: it is one call to whoever reads both logs.
        headers = {**self._headers, "X-Request-ID": current_request_id() or new_request_id()}
        timeout = httpx.Timeout(self._call_seconds + extra_seconds, connect=CONNECT_SECONDS)
        request = httpx.Request(
            method,
            f"{self._base_url}{path}",
            params=params,
            headers=headers,
            json=body,
            extensions={"timeout": timeout.as_dict()},
        )
        call = partial(self._traced, request, extra_seconds)
        return await repeat_after_blips(call, self._blip_wait, once=once)

    async def _traced(self, request: httpx.Request, extra_seconds: float) -> Answer:
        """Put the remote service's span into the trace of what the call is for, if it is traced."""
        if tracing.traceparent() is None:
            return await self._exchange(request, extra_seconds)
        method = {"http.request.method": request.method}
        with tracing.span(request.method, SpanKind.CLIENT, **method) as current:
            request.headers["traceparent"] = tracing.traceparent() or ""
            answer = await self._exchange(request, extra_seconds)
            current.set_attribute("http.response.status_code", answer.status)
            return answer

    async def _exchange(self, request: httpx.Request, extra_seconds: float) -> Answer:
        seconds = self._call_seconds + extra_seconds
        length = int(request.headers.get("content-length", 0))
        await self._pace.wait(length)
        try:
            # Over all of it: httpx limits single reads, so one byte a second would never end.
            async with asyncio.timeout(seconds):
                response = await self._transport.handle_async_request(request)
                try:
                    content = await _read(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise Timeout(f"no whole answer within {seconds:g} s") from None
        except httpx.HTTPError as error:
            raise classify_exception(error) from error
        self._pace.note(response.headers, length)
        return _understand(response, content)


async def _read(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > LARGEST_ANSWER:
            raise TooLarge(f"the answer is larger than {LARGEST_ANSWER} bytes")
    return bytes(content)


def _understand(response: httpx.Response, content: bytes) -> Answer:
    status, headers = response.status_code, response.headers
    try:
        body = _parse(content)
    except (ValueError, RecursionError):
        body = None
        if response.is_success:
            raise classify_unreadable(status, headers) from None
    if not response.is_success:
        raise classify_answer(status, headers, body)
    return Answer(status, headers, body)


def _parse(content: bytes) -> Any:
    return json.loads(content, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python reads though they are no JSON."""
    raise ValueError(name)


@dataclass(frozen=True, slots=True)
class ListPage(Generic[T]):
    items: Sequence[T]
    next_cursor: str | None
    # On the first page of customers: the feed's place before its first row was read.
    feed_cursor: str | None


async def read_page(
    link: Link,
    path: str,
    model: TypeAdapter[list[T]],
    cursor: str | None,
    *,
    limit: int = PAGE,
    **params: Any,
) -> ListPage[T]:
    """Read one page. Raises CallFailed, for an answer that is no such page too."""
    answer = await _call(link, path, {**params, **({"cursor": cursor} if cursor else {})}, limit)
    try:
        items = model.validate_python(answer.body)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        raise Transient(f"its list is malformed at {fault['loc']}") from None
    next_cursor = cursor_in(answer, "x-next-cursor")
    if next_cursor is not None and (next_cursor == cursor or not items):
        raise Transient("its list does not go on")
    return ListPage(items, next_cursor, cursor_in(answer, "x-feed-cursor"))


async def pages(read: Callable[[str | None], Awaitable[ListPage[T]]]) -> AsyncIterator[Sequence[T]]:
    """Read all pages of a list."""
    cursor = None
    while True:
        page = await read(cursor)
        yield page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def cursor_in(answer: Answer, header: str) -> str | None:
    """Read a cursor from a header. Raises Transient for one that is none."""
    cursor: str | None = answer.headers.get(header)
    if cursor is not None and not CURSOR.fullmatch(cursor):
        raise Transient(f"its {header} is malformed", status=answer.status)
    return cursor


async def _call(link: Link, path: str, params: dict[str, Any], limit: int) -> Answer:
    while True:
        try:
            return await link.call("GET", path, params={**params, "limit": limit})
        except TooLarge:
            if limit == 1:
                raise
            limit //= 2
