"""What a handler's signature asks for, worked out once: where in a request each value stands."""

import inspect
from collections.abc import Awaitable, Callable, Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from fastapi._compat import ModelField
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from service_kit.web.body import StrictRequest


class NotPlain(Exception):
    """FastAPI has to look at this request, or at every one of this route."""


def require(is_so: bool) -> None:
    if not is_so:
        raise NotPlain


class Told:
    """What a handler that asks for a response is given: to say headers and another status by."""

    __slots__ = ("headers", "status_code")

    def __init__(self) -> None:
        self.status_code = 0
        self.headers: dict[str, str] = {}


class PlainRequest(StrictRequest):
    """A request on the straight way."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self.told = Told()

    def in_query(self, name: str) -> str | None:
        query: dict[str, str] = self.scope["query"]
        return query.get(name)

    def in_headers(self, name: bytes) -> str | None:
        for header, value in self.scope["headers"]:
            if header == name:
                return bytes(value).decode("latin-1")
        return None


Find = Callable[[PlainRequest], Any]


class Call:
    """A handler or one of its dependencies, with what its signature asks for."""

    def __init__(self, wants: Dependant, body: ModelField | None = None) -> None:
        require(_is_plain(wants) and (body is None or wants.body_params == [body]))
        assert wants.call is not None
        self._call: Callable[..., Awaitable[Any]] = wants.call
        self._others = [(part.name, Call(part)) for part in wants.dependencies]
        self._values = list(_values(wants))
        self._body = body

    async def __call__(self, request: PlainRequest) -> Any:
        values = {}
        for name, find in self._values:
            values[name] = find(request)
        for wanted, other in self._others:
            found = await other(request)
            if wanted is not None:
                values[wanted] = found
        if self._body is not None:
            values[self._body.name] = await _body(request, self._body)
        return await self._call(**values)


def _values(wants: Dependant) -> Iterator[tuple[str, Find]]:
    """Name what stands in a request itself, and say how it is found there."""
    for field in wants.path_params:
        yield field.name, _in_path(field)
    for field in wants.query_params:
        yield field.name, _in_query(field)
    for field in wants.header_params:
        yield field.name, _in_headers(field)
    if name := wants.request_param_name or wants.http_connection_param_name:
        yield name, lambda request: request
    if name := wants.response_param_name:
        yield name, lambda request: request.told


def _in_path(field: ModelField) -> Find:
    name, read = field.alias, _reader(field)
    return lambda request: read(request.scope["path_params"][name])


def _in_query(field: ModelField) -> Find:
    name, read = field.alias, _reader(field)
    return lambda request: read(request.in_query(name))


def _in_headers(field: ModelField) -> Find:
    is_python_name = getattr(field.field_info, "convert_underscores", False)
    own = field.alias.replace("_", "-") if is_python_name and field.alias == field.name else None
    name, read = (own or field.alias).lower().encode(), _reader(field)
    return lambda request: read(request.in_headers(name))


def _reader(field: ModelField) -> Callable[[str | None], Any]:
    """Make what reads a parameter's text, of which there is one at most, or gives the default."""
    info = field.field_info
    require(info.validation_alias in {None, info.alias} and not info.validate_default)
    require(not (kinds(info.annotation) & {list, set, frozenset, tuple, dict, BaseModel}))
    is_required = info.is_required()
    default = None if is_required else field.get_default()
    require(isinstance(default, str | int | float | NoneType))
    validate = field._type_adapter.validator.validate_python  # noqa: SLF001

    def read(text: str | None) -> Any:
        if text is None:
            require(not is_required)
            return default
        try:
            return validate(text)
        except ValidationError:
            raise NotPlain from None

    return read


async def _body(request: PlainRequest, field: ModelField) -> Any:
    try:
        require(bool(await request.body()))
        found, errors = field.validate(await request.json())
    except (ValueError, ClientDisconnect):
        raise NotPlain from None
    require(not errors)
    return found


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


def kinds(annotation: Any) -> set[Any]:
    """Name the types that a parameter may have."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return kinds(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        return set().union(*(kinds(part) for part in get_args(annotation)))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {BaseModel}
    return {origin or annotation}
