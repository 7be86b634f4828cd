"""The straight way from a request to its handler, for handlers whose signature is plain.

FastAPI finds out anew for each request what a signature asks for, and goes through its routers
twice to find it; that is two thirds of what a look-up by id costs (docs/performance.md). Here both
are done once: routes are laid out at the start, and a signature is read at its first request.

Whatever is not plain, a value that does not fit or a body that is no JSON, goes FastAPI's way from
the start, so every refusal has one source. Who may call, problems and metrics are the same code.
"""

from functools import cache
from typing import Any, get_type_hints

from fastapi import FastAPI, Response
from fastapi.datastructures import DefaultPlaceholder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service_kit.web.answers import writer
from service_kit.web.auth import GuardedRoute, admit
from service_kit.web.signatures import Call, NotPlain, PlainRequest, Told, require

_NO_CONTENT = 204
_JSON = (b"content-type", b"application/json")
_ANYTHING = object()  # no segment of a path is equal to it


class StraightWay:
    """Stands before FastAPI, and leaves to it what it can't take itself."""

    def __init__(self, app: ASGIApp, service: FastAPI) -> None:
        self.app = app
        self._handlers: Any = service.exception_handlers
        self._routes: dict[Any, Any] = {}
        for route in service.routes:
            if isinstance(route, GuardedRoute):
                self._add(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self.find(scope) if scope["type"] == "http" else None
        if found is None:
            await self.app(scope, receive, send)
            return
        plan, scope["path_params"] = found
        scope["route"] = plan.route
        request = PlainRequest(scope, receive)
        try:
            response = await plan.answer(request)
        except NotPlain:
            await self.app(scope, await _again(request), send)
            return
        except Exception as error:  # noqa: BLE001 (raised again where no handler is for it)
            response = await self._explain(request, error)
        await response(scope, receive, send)

    def find(self, scope: Scope) -> "tuple[Plan, dict[str, str]] | None":
        """Find the route for a path, and what stands where its parameters are."""
        node, values = self._routes.get(scope["method"]), []
        for segment in scope["path"].split("/"):
            if node is None:
                return None
            if (fixed := node.get(segment)) is not None:
                node = fixed
            else:
                node = node.get(_ANYTHING) if segment else None
                values.append(segment)
        plan = node[Plan]() if node and Plan in node else None
        if plan is None or scope.get("root_path"):
            return None
        return plan, dict(zip(plan.path_names, values, strict=True))

    def _add(self, route: GuardedRoute) -> None:
        # A plan is made at the first request for its route.
        plan = cache(lambda: _plan(route))
        for method in route.methods or ():
            node = self._routes.setdefault(method, {})
            for part in route.path.split("/"):
                node = node.setdefault(_ANYTHING if part.startswith("{") else part, {})
            # Of two routes for one path the first counts, as it does for FastAPI.
            node.setdefault(Plan, plan)

    async def _explain(self, request: PlainRequest, error: Exception) -> Response:
        """Answer an error as the framework does, by the handler that is nearest to its type."""
        for kind in type(error).__mro__:
            if (handler := self._handlers.get(kind)) is not None:
                response: Response = await handler(request, error)
                return response
        raise error


class Plan:
    """How one route is answered. Raises NotPlain for a route that FastAPI has to answer."""

    def __init__(self, route: GuardedRoute) -> None:
        self.route = route
        self.path_names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
        require(route.path == route.path_format)
        self._handler = Call(route.dependant, route.body_field)
        self._status = route.status_code or 200
        self._write = writer(route.response_field) if route.response_field else None
        require(
            get_type_hints(route.endpoint).get("return") is Response
            or self._status == _NO_CONTENT
            or (self._write is not None and isinstance(route.response_class, DefaultPlaceholder))
        )
        require(not (route.response_model_include or route.response_model_exclude))
        require(not route.response_model_exclude_unset)

    async def answer(self, request: PlainRequest) -> Response:
        await admit(request, self.route)
        result = await self._handler(request)
        return result if isinstance(result, Response) else self._render(result, request.told)

    def _render(self, result: Any, told: Told) -> Response:
        status = told.status_code or self._status
        if status == _NO_CONTENT:
            return _Written(b"", status, [_JSON], told)
        assert self._write is not None
        body = self._write(result)
        return _Written(body, status, [(b"content-length", b"%d" % len(body)), _JSON], told)


class _Written(Response):
    """An answer that needs no more work."""

    def __init__(
        self, body: bytes, status: int, headers: list[tuple[bytes, bytes]], told: Told
    ) -> None:
        self.body = body
        self.status_code = status
        self.background = None
        for name, value in told.headers.items():
            headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))
        self.raw_headers = headers


def _plan(route: GuardedRoute) -> Plan | None:
    try:
        return Plan(route)
    except NotPlain:
        return None


async def _again(request: PlainRequest) -> Receive:
    """Give what was received of a request once more, and then what still comes."""
    if not hasattr(request, "_body"):
        return request.receive
    body = await request.body()
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return whole.pop() if whole else await request.receive()

    return receive
