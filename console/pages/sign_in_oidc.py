"""Signing in with the company's OpenID provider."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console import security
from console.oidc import ATTEMPT_SECONDS, SignInFailed, attempt_of
from console.pages import sign_in
from console.platform import Down
from console.routing import open_to_all
from console.site import Site


async def begin(site: Site, request: Request) -> Response:
    """Send the browser to the provider. It is a link: a form may lead to this console alone."""
    if site.oidc is None:
        return site.render(request, "problem.html", 404, title="There is nothing here")
    after = request.query_params.get("next", "")
    if refused := sign_in.refusal(site, request, after):
        return refused
    site.attempts.give_back(request)
    try:
        address, attempt = await site.oidc.begin(sign_in.below(after))
    except SignInFailed as fault:
        return sign_in.form(site, request, after, HTTPStatus.SERVICE_UNAVAILABLE, str(fault))
    response = RedirectResponse(address, HTTPStatus.SEE_OTHER)
    security.set_sign_in_cookie(request, response, attempt.as_cookie(), ATTEMPT_SECONDS)
    return response


async def finish(site: Site, request: Request) -> Response:
    """Open a session with what the provider sent back."""
    if site.oidc is None:
        return site.render(request, "problem.html", 404, title="There is nothing here")
    if refused := sign_in.refusal(site, request, ""):
        return refused
    attempt = attempt_of(request.cookies.get(security.sign_in_cookie_name(request)))
    after = attempt.after if attempt else ""
    try:
        token = await site.oidc.finish(attempt, request.query_params)
        opened = await sign_in.opened(site, request, token, after)
    except SignInFailed as fault:
        opened = sign_in.form(site, request, after, HTTPStatus.UNAUTHORIZED, str(fault))
    except Down as down:
        opened = sign_in.form(site, request, after, 503, f"{down.service} does not answer.")
    if opened is None:
        unknown = "The services do not accept the provider's token."
        opened = sign_in.form(site, request, after, HTTPStatus.UNAUTHORIZED, unknown)
    security.set_sign_in_cookie(request, opened, "", 0)
    return opened


routes = [
    open_to_all("/sign-in/provider", begin),
    open_to_all("/signed-in", finish),
]
