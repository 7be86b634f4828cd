"""Bearer tokens, roles and scopes, checked before a byte of a request's body is read."""

import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from operator import attrgetter
from typing import Any, Protocol, get_type_hints

from fastapi import Depends, Request, Response, Security, params
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.routing import BaseRoute
from starlette.types import Scope

from service_kit.problems import Problem, ServiceUnavailable
from service_kit.process.configured_tokens import digest_of
from service_kit.process.settings import ServiceSettings
from service_kit.web import minting
from service_kit.web.body import StrictRequest, check_body_headers
from service_kit.web.query import query_parameters, read_query
from service_kit.web.rate_limits import RateLimits
from service_kit.web.roles import ROLES

# RFC 6750, section 2.1: what may stand after "Bearer". A JWT may be long; the head has a bound.
_SENDABLE = re.compile(r"[A-Za-z0-9._~+/-]+=*")


# The other services ask as often as their callers' tokens are new to them: refused, they could let
# nobody in.
_INTROSPECTION = frozenset({"tokens:introspect"})


class NotAuthenticated(Problem):
    """The token is missing, unknown, expired or revoked."""

    status = HTTPStatus.UNAUTHORIZED
    slug = "not-authenticated"
    headers = {"WWW-Authenticate": "Bearer"}

    def __init__(self) -> None:
        # One text for all reasons; only the log says which it was.
        super().__init__("Send a valid token as 'Authorization: Bearer <token>'.")


class ScopeMissing(Problem):
    """The token lacks the scope that this takes."""

    status = HTTPStatus.FORBIDDEN
    slug = "scope-missing"


class IdentityUnavailable(ServiceUnavailable):
    """Nobody can tell at the moment whose token this is; the same request may succeed later."""

    slug = "identity-unavailable"

    def __init__(self) -> None:
        super().__init__("Nobody can tell at the moment whose token this is.")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling, what they may do, and with which token.

    `scopes` are those of the whole platform. `credential` identifies the caller without revealing
    the token: an issued one by its id, one from the settings by its SHA-256, one of an OpenID
    provider by its issuer and subject. `expires_at` is None for a token that is good until it is
    revoked.
    """

    name: str
    role: str
    scopes: frozenset[str]
    credential: str = "anonymous"
    expires_at: datetime | None = None

    def may(self, scope: str) -> bool:
        return scope in self.scopes


# Whoever runs a command on the machine itself.
COMMAND_LINE = Principal("command-line", "admin", ROLES["admin"], "command-line")

# Finds the owner of a token that is not in the settings. None for one that it does not know, or not
# any more; raises ServiceUnavailable where it can't tell. The scope says who asks.
FindToken = Callable[[str, Scope], Awaitable[Principal | None]]


class IdentityProvider(Protocol):
    """Another process that knows whose token it is, such as the CRM or a company's sign-in."""

    async def find(self, token: str, scope: Scope) -> Principal | None: ...

    async def close(self) -> None: ...


class Tokens:
    """The tokens that this service accepts."""

    def __init__(
        self, settings: ServiceSettings, limits: RateLimits, sources: Sequence[FindToken] = ()
    ) -> None:
        self._principals = {
            (digest := digest_of(token)): Principal(
                role,
                role,
                settings.roles[role] | ROLES.get(role, frozenset()),
                f"sha256:{digest.hex()}",
            )
            for role, token in settings.tokens()
        }
        self._limits = limits
        self._sources = sources
        scopes = settings.anonymous_scopes
        self._anonymous = Principal("anonymous", "anonymous", scopes) if scopes else None

    async def principal(self, scope: Scope, required: frozenset[str]) -> Principal:
        """Find out who sent a request that takes these scopes.

        Raises NotAuthenticated or TooManyRequests.
        """
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if not given:
            if self._anonymous is None:
                raise NotAuthenticated
            return self._anonymous
        scheme, _, token = given[0].decode("latin-1").partition(" ")
        if len(given) != 1 or scheme.lower() != "bearer" or not _SENDABLE.fullmatch(token):
            self._limits.count_failure(scope, "", "malformed")
            raise NotAuthenticated
        # Looked up by digest: how long that takes says nothing about the token.
        digest = minting.digest(token)
        principal = self._principals.get(digest)
        if principal is None:
            principal = await self._find(token, scope)
        if principal is None:
            self._limits.count_failure(scope, token, "unknown, expired or revoked")
            raise NotAuthenticated
        is_limited = required != _INTROSPECTION or not required <= principal.scopes
        self._limits.count(scope, principal.credential, is_limited=is_limited)
        return principal

    async def _find(self, token: str, scope: Scope) -> Principal | None:
        for find in self._sources:
            if (principal := await find(token, scope)) is not None:
                return principal
        return None


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
    """Build the dependency by which a handler says, in its signature, what its caller must have.

    Without a scope any valid token will do.
    """
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
        needed = [
            part.scopes or ()
            for part in guards
            if isinstance(part, params.Security) and part.dependency is _bearer
        ]
        self.needs_token = bool(needed)
        self.required = frozenset(scope for scopes in needed for scope in scopes)
        self.is_public = any(part.dependency is _public for part in guards)
        self.query_parameters = query_parameters(endpoint)

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            admitted = request.scope.get("admitted")
            if admitted is None:
                admitted = self.request_of(request)
                await admit(admitted, self)
            return await handle(admitted)

        return guarded

    def request_of(self, request: Request) -> Request:
        """Make the request that the handler gets: one whose body is JSON of a limited size."""
        return StrictRequest(request.scope, request.receive)


async def admit(request: Request, route: GuardedRoute) -> None:
    """Let a request pass to a route's handler. Raises the Problem for which it may not."""
    scope = request.scope
    if route.needs_token:
        await _authorize(scope, route.required)
    else:
        scope["app"].state.limits.count_by_address(scope)
    scope["query"] = read_query(scope, route.query_parameters)
    if route.body_field is not None:
        check_body_headers(request)


async def _authorize(scope: Scope, required: frozenset[str]) -> None:
    principal = await scope["app"].state.tokens.principal(scope, required)
    check_scopes(principal, required)
    scope["principal"] = principal


def check_scopes(who: Principal, required: frozenset[str]) -> None:
    """Raise NotAuthenticated or ScopeMissing unless the caller has all of these scopes.

    For a handler whose parameters decide what is asked for; its route's own scopes it has.
    """
    if missing := required - who.scopes:
        if who.role == "anonymous":
            raise NotAuthenticated
        raise ScopeMissing(_lacks(who, missing))


def _lacks(who: Principal, missing: frozenset[str]) -> str:
    scopes = ", ".join(sorted(missing))
    if missing <= ROLES.get(who.role, frozenset()):
        return f"The token was issued without the scope {scopes}, which its role {who.role} has."
    return f"The role {who.role} does not have the scope {scopes}."


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
        if isinstance(route, GuardedRoute) and route.needs_token != route.is_public:
            continue
        path = getattr(route, "path", route)
        raise RuntimeError(f"{path} declares neither what a caller needs nor that it is public.")
