"""Routes of pages: who may see one, and what becomes of whatever goes wrong on the way."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from console import security
from console.forms import TooLarge, read_form
from console.platform import Down, Refused, Unknown
from console.sessions import Session, key_of, open_session
from console.site import Site
from console.visit import Visit, callers_of

Handler = Callable[[Visit], Awaitable[Response]]
Open = Callable[[Site, Request], Awaitable[Response]]

logger = logging.getLogger(__name__)


def get(path: str, handler: Handler, needs: str | None = None) -> Route:
    """Make the route of a page, for who is signed in and has a scope."""
    return Route(path, _guarded(handler, needs), methods=["GET"])


def post(path: str, handler: Handler, needs: str | None = None) -> Route:
    """Make the route of a form that changes something."""
    return Route(path, _guarded(handler, needs), methods=["POST"])


def open_to_all(path: str, handler: Open, method: str = "GET") -> Route:
    """Make a route for those who are not signed in."""

    async def endpoint(request: Request) -> Response:
        site: Site = request.app.state.site
        if refused := _from_elsewhere(site, request):
            return refused
        try:
            return await handler(site, request)
        except Exception as error:  # noqa: BLE001 (whatever it is becomes a page)
            return _failed(partial(site.render, request), error)

    return Route(path, endpoint, methods=[method])


def _guarded(handler: Handler, needs: str | None) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        site: Site = request.app.state.site
        if refused := _from_elsewhere(site, request):
            return refused
        try:
            return await _visited(site, request, handler, needs)
        except Exception as error:  # noqa: BLE001 (whatever it is becomes a page)
            return _failed(partial(site.render, request, **await _kept(request)), error)

    return endpoint


async def _visited(site: Site, request: Request, handler: Handler, needs: str | None) -> Response:
    session = await find_session(site, request)
    if session is None:
        return await _signed_out(site, request)
    callers = callers_of(site, request, session.token)
    try:
        who = await site.identities.identify(session.key, session.home, callers)
        visit = Visit(site, request, session, who, callers, next(iter(callers.values())).sent)
        if needs is not None and not who.may(needs):
            return visit.render("problem.html", 403, title="Not with this token", needs=needs)
        visit.needs = await site.attention.look(
            session.key,
            who,
            callers_of(site, request, session.token),  # the page's foot lists its own calls alone
            is_news="hx-request" in request.headers,
        )
        try:
            return await handler(visit)
        except (Refused, Down, TooLarge) as error:
            return _failed(partial(visit.render, **await _kept(request)), error)
        finally:
            if request.method == "POST":
                site.attention.forget(session.key)
    except Unknown as error:
        if error.args != (session.home,):
            raise Refused(401, {"detail": "That service does not know your token."}) from error
        await site.sessions.remove(session.key)
        return await _signed_out(site, request)


async def find_session(site: Site, request: Request) -> Session | None:
    """Find the session that the browser's cookie opens."""
    cookie = request.cookies.get(security.cookie_name(request))
    if not cookie:
        return None
    stored = await site.sessions.find(key_of(cookie))
    return None if stored is None else open_session(cookie, stored)


async def _signed_out(site: Site, request: Request) -> Response:
    """Ask to sign in. What was typed into a form is shown again, to be sent after that."""
    if kept := await _kept(request):
        return site.render(request, "ended.html", 401, **kept)
    if request.headers.get("accept") == "text/event-stream":
        return Response(status_code=HTTPStatus.NO_CONTENT)  # the end of a stream, for a browser
    query = urlencode({"next": _below(request)})
    target = f"{request.scope['root_path']}/sign-in?{query}"
    if "hx-request" in request.headers:
        # A part of a page would show the form within the page.
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": target})
    return RedirectResponse(target, HTTPStatus.SEE_OTHER)


async def _kept(request: Request) -> dict[str, Any]:
    """Return what was typed into a form and where it was sent, for a page that shows it again.

    A file can't be shown again: the page of its form asks for it once more.
    """
    kind = request.headers.get("content-type", "")
    if request.method != "POST" or kind.startswith("multipart/"):
        return {}
    try:
        return {"form": await read_form(request), "path": _below(request)}
    except (TooLarge, ClientDisconnect):
        return {}


def _below(request: Request) -> str:
    path = request.scope["path"].removeprefix(request.scope["root_path"]) or "/"
    query = request.scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else str(path)


def _from_elsewhere(site: Site, request: Request) -> Response | None:
    if request.method == "GET" or security.is_from_here(request, site.config.public_url):
        return None
    return site.render(request, "problem.html", 403, title="Not from another page", foreign=True)


def _failed(render: Callable[..., Response], error: Exception) -> Response:
    """Turn what a handler has raised into a page."""
    match error:
        case Down():
            title = f"{error.service} does not answer"
            return render("problem.html", 503, title=title, down=error)
        case Refused():
            title = "Not found" if error.status == HTTPStatus.NOT_FOUND else "Refused"
            return render("problem.html", error.status, title=title, problem=error)
        case TooLarge():
            return render("problem.html", 413, title="Too much text")
        case HTTPException():
            return render("problem.html", error.status_code, title="Try again later")
    logger.error("A page of the console failed because of a bug.", exc_info=error)
    return render("problem.html", 500, title="A fault of ours")
