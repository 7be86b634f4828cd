"""Answers by hand what is asked most, at a third of what FastAPI's dependencies and models cost.

A hot route has two functions. `by_hand` is tried first; where it returns None, which is for
anything out of the ordinary, it hands over to FastAPI's own handling of the decorated function.
Take `@hot` away and every answer stays the same; tests/test_hot.py compares them byte by byte.
"""

from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Any, TypeVar

from fastapi import Request, Response
from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_json
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from service_kit.web.auth import GuardedRoute, admit
from service_kit.web.body import StrictRequest
from service_kit.web.paging import LARGEST_PAGE

# Answers a request that was admitted, or returns None where anything in it is out of the ordinary.
ByHand = Callable[[Request], Awaitable[Response | None]]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
T = TypeVar("T")

_LONGEST = 200  # every parameter that is a text may have as many characters


def hot(by_hand: ByHand) -> Callable[[Endpoint], Endpoint]:
    """Mark the handler of a HotRoute: `by_hand` is tried first, after the token is checked.

    None hands over to FastAPI's own handling of the decorated function, whose signature also stays
    what OpenAPI describes.
    """

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.by_hand = by_hand  # type: ignore[attr-defined]
        return endpoint

    return mark


class HotRoute(GuardedRoute):
    """A guarded route of which a handler may be hot."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self._beginning = self.path_format.partition("{")[0]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        # Looked at for every request, most of which are for another route.
        if not scope.get("root_path") and not scope["path"].startswith(self._beginning):
            return Match.NONE, {}
        return super().matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        by_hand: ByHand | None = getattr(self.endpoint, "by_hand", None)
        if by_hand is not None and scope["method"] in (self.methods or ()):
            request = StrictRequest(scope, receive)
            await admit(request, self)
            if (response := await by_hand(request)) is not None:
                await response(scope, receive, send)
                return
            # Not before: a request in its own scope is left to the garbage collector.
            scope["admitted"] = request
        await super().handle(scope, receive, send)


def is_hot(route: BaseRoute) -> bool:
    return isinstance(route, HotRoute) and hasattr(route.endpoint, "by_hand")


def plain_query(request: Request, *names: str) -> dict[str, str] | None:
    """Return the query, or None where it has other parameters than these or a long value."""
    query: dict[str, str] = request.scope["query"]
    is_plain = query.keys() <= set(names) and all(len(text) <= _LONGEST for text in query.values())
    return query if is_plain else None


def plain_limit(query: dict[str, str]) -> int | None:
    """Read `limit`; None where it is not a plain number that is allowed."""
    if (text := query.get("limit")) is None:
        return 50
    is_plain = text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_PAGE))
    return int(text) if is_plain and 1 <= int(text) <= LARGEST_PAGE else None


def fields_of(model: type[BaseModel]) -> Callable[[Any], dict[str, Any]]:
    """Make what takes the fields of a model out of a row, unchecked: its columns' types suffice."""
    names, values_of = tuple(model.model_fields), attrgetter(*model.model_fields)
    return lambda row: dict(zip(names, values_of(row), strict=True))


def json_response(value: Any, headers: dict[str, str] | None = None) -> Response:
    """Write what needs no check. Instants and the like look as a response model writes them."""
    return Response(to_json(value), headers=headers, media_type="application/json")


async def plain_body(request: Request, adapter: TypeAdapter[T]) -> T | None:
    """Read a JSON body; None where there is anything to say against it."""
    if request.headers.get("content-type") != "application/json":
        return None
    try:
        return adapter.validate_python(await request.json())
    except (ValueError, ClientDisconnect):
        return None
