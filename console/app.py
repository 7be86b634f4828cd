"""Puts the console together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console import security
from console.config import Config
from console.pages import (
    audit,
    customers,
    deliveries,
    feed,
    imports,
    live,
    overview,
    packing,
    search,
    sign_in,
    sign_in_oidc,
    stock,
    tickets,
    tokens,
)
from console.platform import Platform
from console.rendering import STATIC, versions
from console.sessions import Links, SessionStore
from console.site import Site
from console.streams import Streams
from service_kit.process.stopping import Stopping

_A_YEAR = {"Cache-Control": "public, max-age=31536000, immutable"}
_ROUTES = [
    *sign_in.routes,
    *sign_in_oidc.routes,
    *overview.routes,
    *search.routes,
    *customers.routes,
    *deliveries.routes,
    *tickets.routes,
    *packing.routes,
    *stock.routes,
    *imports.routes,
    *tokens.routes,
    *audit.routes,
    *feed.routes,
    *live.routes,
]


class _Mounted:
    """What the routes of the parent app lead to, and how its metrics name them."""

    def __init__(self, path: str) -> None:
        self.path = path


class Console:
    """The console as an ASGI app, mounted at a path of another.

    That is the CRM's app, which it calls as `crm`; or, with the CRM's address, one that has nothing
    else.
    """

    def __init__(
        self,
        config: Config,
        crm: ASGIApp | None,
        sessions: SessionStore,
        links: Links,
        path: str,
        stopping: Stopping,
    ) -> None:
        streams = Streams(stopping)
        self.site = Site(config, Platform(config, crm), sessions, links, streams)
        self._mounted, self._stream = _Mounted(path), _Mounted(path + live.PATH)
        self._app = Starlette(
            routes=[*_ROUTES, Route("/static/{name}", _static)],
            exception_handlers={HTTPException: _on_http_exception},
        )
        self._app.router.redirect_slashes = False
        self._app.state.site = self.site

    def routes(self) -> list[BaseRoute]:
        """Return the routes that mount the console; the final slash makes no difference there."""
        path = self._mounted.path
        return [Route(path, self), Route(path + "/{rest:path}", self)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Call services until the end."""
        try:
            yield
        finally:
            await self.site.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        inner = self._below(scope)
        # A stream's duration says nothing of how fast pages are.
        is_stream = inner["path"] == inner["root_path"] + live.PATH
        scope["route"] = self._stream if is_stream else self._mounted
        await self._app(inner, receive, _protected(send))

    def _below(self, scope: Scope) -> Scope:
        """Make the scope of a request within the console.

        It is the console's own: Starlette puts the app that answers into it, and the parent's
        middleware looks for the parent there afterwards.
        """
        outer = scope.get("root_path", "")
        root = outer + self._mounted.path
        path = scope["path"] if scope["path"].startswith(root) else outer + scope["path"]
        return {
            **scope,
            "root_path": root,
            "path": path if path != root else root + "/",
            "path_params": {},
            # What the server itself looks at.
            "outer_scope": scope,
        }


def _protected(send: Send) -> Send:
    """Add the headers that every answer of the console has."""

    async def send_protected(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": security.protected(message["headers"])}
        await send(message)

    return send_protected


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if (version := versions().get(name)) is None:
        raise HTTPException(404)
    is_current = request.query_params.get("v") == version
    return FileResponse(STATIC / name, headers=_A_YEAR if is_current else {})


async def _on_http_exception(request: Request, error: Exception) -> Response:
    site: Site = request.app.state.site
    status = error.status_code if isinstance(error, HTTPException) else 500
    return site.render(request, "problem.html", status, title="There is nothing here")
