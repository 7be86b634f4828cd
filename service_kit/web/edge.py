"""The outermost middleware: request ids, slashes, HEAD, metrics, prefixes and CORS."""

import logging
import re
import time
from collections.abc import Collection, Iterable
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service_kit.problems import BadRequest
from service_kit.process.logs import new_request_id, use_address, use_request_id
from service_kit.web.problems import answer

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_LONGEST_ADDRESS = 45  # of IPv6 that holds one of IPv4; a proxy may forward anything
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
# By default nobody keeps an answer: it may show a person. One with an ETag may be kept by the
# caller itself, which asks with If-None-Match before each use.
_KEPT_NOWHERE = (b"cache-control", b"no-store")
_KEPT_BY_CALLER = (b"cache-control", b"private, no-cache")

logger = logging.getLogger(__name__)


class Edge:
    """Gives each request an id, ignores a trailing slash, counts it, and answers HEAD as GET.

    It says who may keep an answer, unless the route has said so.

    Headers that inner layers append to the scope's `answer_headers` are part of every answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started_at = time.perf_counter()
        request_id = request_id_of(scope)
        use_request_id(request_id)
        client = scope.get("client")
        use_address(client[0][:_LONGEST_ADDRESS] if client else None)
        if (path := scope["path"])[-1:] == "/" and path != "/":
            scope["path"] = path.rstrip("/") or "/"
        headers = scope["answer_headers"] = [
            (b"x-request-id", request_id.encode()),
            _NO_SNIFFING,
        ]
        is_head = scope["method"] == "HEAD"
        inner = {**scope, "method": "GET"} if is_head else scope
        status = 0

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = message["headers"]
                message["headers"] = [*given, *headers, *_who_may_keep(given)]
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        try:
            await self.app(inner, receive, send_named)
        finally:
            seconds = time.perf_counter() - started_at
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = getattr(inner.get("route"), "path", "unmatched")
            scope["app"].state.metrics.observe(method, route, status, seconds)
            logger.debug("%s %s %d %.1f ms", method, route, status, seconds * 1000)


class Prefixed:
    """Lets `/customers` mean `/api/customers`, for each segment that stands under the prefix."""

    def __init__(self, app: ASGIApp, prefix: str, segments: Collection[str]) -> None:
        self.app = app
        self.prefix = prefix
        self.segments = frozenset(segments)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            first = scope["path"].split("/", 2)[1:2]
            if first and first[0] in self.segments:
                scope["path"] = self.prefix + scope["path"]
        await self.app(scope, receive, send)


class Cors(CORSMiddleware):
    """Starlette's CORS, with refused preflights in the shape of all errors."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        return response if response.status_code == HTTPStatus.OK else _PreflightRefused(response)


class _PreflightRefused(Response):
    def __init__(self, plain: Response) -> None:
        super().__init__()
        self._plain = plain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = self._plain.headers.items()
        headers = {name: value for name, value in named if name.startswith(("access-", "vary"))}
        problem = BadRequest(
            f"{bytes(self._plain.body).decode()}: this service does not answer to that page.",
            headers=headers,
        )
        await answer(Request(scope), problem)(scope, receive, send)


def _who_may_keep(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    names = [name for name, _ in headers]
    if b"cache-control" in names:
        return ()
    return (_KEPT_BY_CALLER if b"etag" in names else _KEPT_NOWHERE,)


def request_id_of(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return bytes(value).decode()
    return new_request_id()
