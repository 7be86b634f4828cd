"""The straight way from a request to its handler, for handlers whose signature is plain.

FastAPI finds out anew for each request what a signature asks for, and goes through its routers
twice for it: two thirds of what a look-up by id costs (docs/performance.md). Here it is done once.

Whatever is not plain, a value that does not fit or a body that is no JSON, goes FastAPI's way from
the start, so every refusal has one source. Who may call, problems and metrics are the same code.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from fastapi import FastAPI, Response
from fastapi._compat import ModelField
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service_kit.answers import writer
from service_kit.auth import GuardedRoute, admit
from service_kit.body import StrictRequest

_JSON, _NO_CONTENT = "application/json", 204
_ANYTHING = "{}"


class NotPlain(Exception):
    """FastAPI has to look at this request, or at every one of this route."""


class StraightWay:
    """Stands before FastAPI's router, and leaves to it what it can't take itself."""

    def __init__(self, app: FastAPI) -> None:
        self._router: ASGIApp = app.router.app
        self._routes: dict[str, Any] = {}
        for route in app.routes:
            if isinstance(route, GuardedRoute):
                self._add(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self.find(scope) if scope["type"] == "http" else None
        if found is None:
            return await self._router(scope, receive, send)
        plan, scope["path_params"] = found
        scope["route"] = plan.route
        request = StrictRequest(scope, receive, send)
        try:
            response = await plan.answer(request)
        except NotPlain:
            await self._router(scope, await _again(request), send)
        else:
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


class Plan:
    """How one route is answered. Raises NotPlain for a route that FastAPI has to answer."""

    def __init__(self, route: GuardedRoute) -> None:
        self.route = route
        self.path_names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
        _require(route.path == route.path_format)
        self._handler = _Call(route.dependant, route.body_field)
        self._status = route.status_code
        self._write = writer(route.response_field) if route.response_field else None
        _require(
            get_type_hints(route.endpoint).get("return") is Response
            or self._status == _NO_CONTENT
            or (self._write is not None and isinstance(route.response_class, DefaultPlaceholder))
        )
        _require(not (route.response_model_include or route.response_model_exclude))
        _require(not route.response_model_exclude_unset)

    async def answer(self, request: StrictRequest) -> Response:
        await admit(request, self.route)
        result = await self._handler(request, told := _Told())
        return result if isinstance(result, Response) else self._render(result, told)

    def _render(self, result: Any, told: Response) -> Response:
        status = told.status_code or self._status or 200
        if status == _NO_CONTENT:
            response = Response(status_code=status, media_type=_JSON)
        else:
            assert self._write is not None
            response = Response(self._write(result), status, media_type=_JSON)
        response.raw_headers += told.raw_headers
        return response


class _Told(Response):
    """What handlers are given to say headers and another status by."""

    def __init__(self) -> None:
        self.status_code = 0
        self.raw_headers = []


class _Call:
    """A handler or one of its dependencies, with what its signature asks for."""

    def __init__(self, wants: Dependant, body: ModelField | None = None) -> None:
        _require(_is_plain(wants) and (body is None or wants.body_params == [body]))
        assert wants.call is not None
        self._call: Callable[..., Awaitable[Any]] = wants.call
        self._others = [(part.name, _Call(part)) for part in wants.dependencies]
        self._path = [_Value(field) for field in wants.path_params]
        self._query = [_Value(field) for field in wants.query_params]
        self._headers = [_Value(field) for field in wants.header_params]
        self._body = body
        self._request_name = wants.request_param_name or wants.http_connection_param_name
        self._response_name = wants.response_param_name

    async def __call__(self, request: StrictRequest, response: Response) -> Any:
        values = {}
        for name, other in self._others:
            found = await other(request, response)
            if name is not None:
                values[name] = found
        for value in self._path:
            values[value.name] = value.of(request.path_params)
        for value in self._query:
            values[value.name] = value.of(request.query_params)
        for value in self._headers:
            values[value.name] = value.of(request.headers)
        if self._body is not None:
            values[self._body.name] = await _body(request, self._body)
        if self._request_name:
            values[self._request_name] = request
        if self._response_name:
            values[self._response_name] = response
        return await self._call(**values)


class _Value:
    """A parameter that stands in the path, the query or a header, once."""

    def __init__(self, field: ModelField) -> None:
        info = field.field_info
        _require(info.validation_alias in {None, info.alias} and not info.validate_default)
        _require(not (_kinds(info.annotation) & {list, set, frozenset, tuple, dict, BaseModel}))
        self.name = field.name
        self._validate = field.validate
        in_header = getattr(info, "convert_underscores", False) and field.alias == field.name
        self._key = field.alias.replace("_", "-") if in_header else field.alias
        self._is_required = info.is_required()
        self._default = None if self._is_required else field.get_default()
        _require(isinstance(self._default, str | int | float | NoneType))

    def of(self, given: Mapping[str, str]) -> Any:
        value = given.get(self._key)
        if value is None:
            if self._is_required:
                raise NotPlain
            return self._default
        found, errors = self._validate(value)
        if errors:
            raise NotPlain
        return found


def _plan(route: GuardedRoute) -> Plan | None:
    try:
        return Plan(route)
    except NotPlain:
        return None


async def _body(request: StrictRequest, field: ModelField) -> Any:
    try:
        if not await request.body():
            raise NotPlain
        found, errors = field.validate(await request.json())
    except (ValueError, ClientDisconnect):
        raise NotPlain from None
    if errors:
        raise NotPlain
    return found


async def _again(request: StrictRequest) -> Receive:
    """Give what was received of a request once more, and then what still comes."""
    if not hasattr(request, "_body"):
        return request.receive
    body = await request.body()
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return whole.pop() if whole else await request.receive()

    return receive


def _require(is_so: bool) -> None:
    if not is_so:
        raise NotPlain


def _is_plain(wants: Dependant) -> bool:
    call: Any = wants.call
    return (
        inspect.iscoroutinefunction(call if inspect.isfunction(call) else type(call).__call__)
        and wants.concurrency is None
        and not wants.cookie_params
        and not wants.background_tasks_param_name
        and not wants.security_scopes_param_name
        and not wants.websocket_param_name
    )


def _kinds(annotation: Any) -> set[Any]:
    """Name the types that a parameter may have."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        return set().union(*(_kinds(part) for part in get_args(annotation)))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {BaseModel}
    return {origin or annotation}
