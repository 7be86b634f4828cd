"""Signing in and out."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console import security
from console.forms import read_form
from console.platform import Down
from console.routing import find_session, open_to_all
from console.sessions import new_session
from console.site import Site
from console.visit import callers_of
from service_kit.process import clock
from service_kit.process.configured_tokens import TOKEN

_LONGEST = 8192  # of a JWT


async def show(site: Site, request: Request) -> Response:
    """Show the form, or send on who is signed in."""
    if await find_session(site, request) is not None and "done" not in request.query_params:
        return _sent_on(request, below(request.query_params.get("next", "")))
    return form(site, request, request.query_params.get("next", ""))


async def sign_in(site: Site, request: Request) -> Response:
    """Check a token, and open a session with it."""
    sent = await read_form(request)
    token = sent["token"].strip()
    if role := sent["role"]:
        token = site.config.demo_tokens.get(role, "")
    after = sent["next"]
    if refused := refusal(site, request, after):
        return refused
    if not token:
        return form(site, request, after, 422, "Paste a token.")
    try:
        response = await opened(site, request, token, after)
    except Down as down:
        return form(site, request, after, 503, f"{down.service} does not answer.")
    if response is None:
        fault = "No service knows this token: it may be mistyped, expired or revoked."
        return form(site, request, after, 401, fault)
    return response


async def show_link(site: Site, request: Request) -> Response:
    """Show what a one-time link is for. Only its button spends it: programs look at links too."""
    # In the query, which access logs leave out sooner than a path.
    code = request.query_params.get("code", "")
    role = await site.links.role_of(code)
    response = site.render(
        request,
        "link.html",
        200 if role else 410,
        role=role,
        code=code,
        is_refused=_is_unprotected(site, request),
    )
    # Not even to our own pages: this address is worth a token.
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


async def spend_link(site: Site, request: Request) -> Response:
    """Spend a one-time link, and open a session with the token that it gives."""
    if refused := refusal(site, request, ""):
        return refused
    token = await site.links.spend((await read_form(request))["code"])
    if token is None:
        return site.render(request, "link.html", 410, role=None, is_refused=False)
    response = await opened(site, request, token, "")
    return response or form(site, request, "", 401, "The link's token is not valid.")


async def sign_out(site: Site, request: Request) -> Response:
    """End this session. No service is asked whose it is: one that is down must not keep it."""
    if (session := await find_session(site, request)) is not None:
        await site.sessions.remove(session.key)
    return _signed_out(request, "signed-out")


async def sign_out_everywhere(site: Site, request: Request) -> Response:
    """End every session under this name, in other browsers too."""
    if (session := await find_session(site, request)) is not None:
        await site.sessions.remove_all_of(session.owner)
    return _signed_out(request, "signed-out-everywhere")


def _signed_out(request: Request, done: str) -> Response:
    response = _sent_on(request, f"/sign-in?done={done}")
    security.set_cookie(request, response, "", 0)
    return response


async def opened(site: Site, request: Request, token: str, after: str) -> Response | None:
    """Open a session; None for a token that nobody knows. Raises Down."""
    if len(token) > _LONGEST or not (TOKEN.fullmatch(token[:512]) and token.isascii()):
        return None
    who = await site.identities.find_home(callers_of(site, request, token))
    if who is None:
        return None
    site.attempts.give_back(request)
    # A session that this browser had before is not left behind.
    if (before := await find_session(site, request)) is not None:
        await site.sessions.remove(before.key)
    cookie, stored = new_session(token, who)
    await site.sessions.add(**stored._asdict())
    response = _sent_on(request, below(after))
    seconds = int((stored.expires_at - clock.now()).total_seconds())
    security.set_cookie(request, response, cookie, seconds)
    return response


def refusal(site: Site, request: Request, after: str) -> Response | None:
    """Refuse an attempt to sign in that is unprotected, or one too many; else count it."""
    if _is_unprotected(site, request):
        fault = "In production you sign in over https:// only."
        return form(site, request, after, HTTPStatus.FORBIDDEN, fault)
    if not site.attempts.take(request):
        fault = "Too many attempts from your address. Try again in a minute."
        response = form(site, request, after, HTTPStatus.TOO_MANY_REQUESTS, fault)
        response.headers.update(security.retry_after())
        return response
    return None


def _is_unprotected(site: Site, request: Request) -> bool:
    return site.config.is_production and not security.is_https(request)


def form(
    site: Site, request: Request, after: str, status: int = 200, fault: str | None = None
) -> Response:
    """Show the form, and why the last attempt has failed."""
    return site.render(
        request,
        "sign_in.html",
        status,
        after=below(after),
        fault=fault,
        is_refused=_is_unprotected(site, request),
    )


def below(path: str) -> str:
    """Return a path below the console, whatever was asked for."""
    is_path = path.startswith("/") and path.isascii() and path.isprintable() and "\\" not in path
    return path if is_path and not path.startswith("/sign") else "/"


def _sent_on(request: Request, path: str) -> Response:
    root: str = request.scope["root_path"]
    target = root if path == "/" else root + path
    return RedirectResponse(target, HTTPStatus.SEE_OTHER)


routes = [
    open_to_all("/sign-in", show),
    open_to_all("/sign-in", sign_in, "POST"),
    open_to_all("/link", show_link),
    open_to_all("/link", spend_link, "POST"),
    open_to_all("/sign-out", sign_out, "POST"),
    open_to_all("/sign-out-everywhere", sign_out_everywhere, "POST"),
]
