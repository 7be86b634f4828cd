"""Bearer tokens, roles and scopes, checked before a byte of a request's body is read."""

import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from operator import attrgetter
from typing import Any, get_type_hints

from fastapi import Depends, Request, Response, Security, params
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.routing import BaseRoute
from starlette.types import Scope

from service_kit.problems import Problem
from service_kit.process.configured_tokens import TOKEN, digest_of
from service_kit.process.settings import ServiceSettings
from service_kit.web.body import StrictRequest, check_body_headers
from service_kit.web.query import query_parameters, read_query
from service_kit.web.rate_limits import RateLimits


class NotAuthenticated(Problem):
    """The token is missing, unknown, expired or revoked."""

    status = HTTPStatus.UNAUTHORIZED
    slug = "not-authenticated"
    headers = {"WWW-Authenticate": "Bearer"}

    def __init__(self) -> None:
        # One text for all reasons; only the log says which it was.
        super().__init__("Send a valid token as 'Authorization: Bearer <token>'.")


class ScopeMissing(Problem):
    """The token's role lacks the scope that this takes."""

    status = HTTPStatus.FORBIDDEN
    slug = "scope-missing"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling, what they may do, and with which token.

    `credential` identifies that token without revealing it: an issued one by its id, one from the
    settings by its SHA-256.
    """

    name: str
    role: str
    scopes: frozenset[str]
    credential: str = "anonymous"

    def may(self, scope: str) -> bool:
        return scope in self.scopes


# Finds the owner of a token that is not in the settings; for tokens in a database.
FindToken = Callable[[str], Awaitable[Principal | None]]


class Tokens:
    """The tokens that this service accepts."""

    def __init__(
        self, settings: ServiceSettings, limits: RateLimits, find: FindToken | None = None
    ) -> None:
        self._principals = {
            (digest := digest_of(token)): Principal(
                role, role, settings.roles[role], f"sha256:{digest.hex()}"
            )
            for role, token in settings.tokens()
        }
        self._limits = limits
        self._find = find
        scopes = settings.anonymous_scopes
        self._anonymous = Principal("anonymous", "anonymous", scopes) if scopes else None

    async def principal(self, scope: Scope) -> Principal:
        """Find out who sent this request. Raises NotAuthenticated or TooManyRequests."""
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if not given:
            if self._anonymous is None:
                raise NotAuthenticated
            return self._anonymous
        scheme, _, token = given[0].decode("latin-1").partition(" ")
        if len(given) != 1 or scheme.lower() != "bearer" or not TOKEN.fullmatch(token):
            self._limits.count_failure(scope, "", "malformed")
            raise NotAuthenticated
        # Looked up by digest: how long that takes says nothing about the token.
        digest = _digest(token)
        principal = self._principals.get(digest)
        if principal is None and self._find is not None:
            principal = await self._find(token)
        if principal is None:
            self._limits.count_failure(scope, token, "unknown, expired or revoked")
            raise NotAuthenticated
        self._limits.count(scope, digest)
        return principal


class _Bearer(HTTPBearer):
    """Adds the Authorize button to /docs, and gives a handler the principal that was admitted."""

    async def __call__(self, request: Request) -> Principal:  # type: ignore[override]
        return principal_of(request)


async def _public() -> None:
    """Mark a route that answers anybody."""


_bearer = _Bearer(scheme_name="bearer")
Public = Depends(_public)
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def needs(*scopes: str) -> Any:
    """Build the dependency by which a handler says, in its signature, what its caller must have."""
    return Security(_bearer, scopes=list(scopes))


def principal_of(request: Request) -> Principal:
    principal: Principal = request.scope["principal"]
    return principal


class GuardedRoute(APIRoute):
    """Checks the token, the query and the headers of a body before a byte of it is read."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        # The operation's name stays when its path changes.
        options["generate_unique_id_function"] = attrgetter("name")
        super().__init__(path, endpoint, **options)
        guards = list(_guards(self))
        # The scopes that a caller needs; none where the route is public or says nothing.
        self.required = frozenset(
            scope
            for part in guards
            if isinstance(part, params.Security) and part.dependency is _bearer
            for scope in part.scopes or ()
        )
        self.is_public = any(part.dependency is _public for part in guards)
        self.query_parameters = query_parameters(endpoint)

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            admitted = request.scope.get("admitted")
            if admitted is None:
                admitted = StrictRequest(request.scope, request.receive)
                await admit(admitted, self)
            return await handle(admitted)

        return guarded


async def admit(request: Request, route: GuardedRoute) -> None:
    """Let a request pass to a route's handler. Raises the Problem for which it may not."""
    scope = request.scope
    if route.required:
        await _authorize(scope, route.required)
    scope["query"] = read_query(scope, route.query_parameters)
    if route.body_field is not None:
        check_body_headers(request)


async def _authorize(scope: Scope, required: frozenset[str]) -> None:
    principal = await scope["app"].state.tokens.principal(scope)
    if missing := required - principal.scopes:
        if principal.role == "anonymous":
            raise NotAuthenticated
        scopes = ", ".join(sorted(missing))
        raise ScopeMissing(f"The role {principal.role} does not have the scope {scopes}.")
    scope["principal"] = principal


def _guards(route: APIRoute) -> Iterator[params.Depends]:
    """Find the dependencies that a route, its router or its handler's signature names directly."""
    yield from route.dependencies
    for hint in get_type_hints(route.endpoint, include_extras=True).values():
        for extra in getattr(hint, "__metadata__", ()):
            if isinstance(extra, params.Depends):
                yield extra


def refuse_unguarded(routes: Sequence[BaseRoute]) -> None:
    """Refuse to start with a route that does not say who may call it. Raises RuntimeError."""
    for route in routes:
        if isinstance(route, GuardedRoute) and bool(route.required) != route.is_public:
            continue
        path = getattr(route, "path", route)
        raise RuntimeError(f"{path} declares neither a scope nor that it is public.")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
