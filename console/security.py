"""What keeps other pages, and guessing, out of the console."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response

from service_kit.process.addresses import client_of
from service_kit.process.rates import Buckets, Rate

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
# Failed attempts to sign in, from one address.
ATTEMPTS = Rate(10, 60)


def protected(given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Add the headers that every answer of the console has, unless it has its own."""
    headers = MutableHeaders(raw=list(given))
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    return headers.raw


def is_from_here(request: Request, public_url: str | None) -> bool:
    """Tell whether a page of the console itself has sent this request.

    Other ports of one host are the same site, not the same origin, and are refused. A browser that
    does not send Sec-Fetch-Site sends Origin. Host was compared with ALLOWED_HOSTS before.
    """
    headers = request.headers
    if (site := headers.get("sec-fetch-site")) is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is not None and origin in _own_origins(request, public_url)


def is_https(request: Request) -> bool:
    return request.url.scheme == "https"


def cookie_name(request: Request) -> str:
    """Name the cookie of the session: over https so that no other host can set it."""
    return "__Host-crmsys" if is_https(request) else "crmsys"


def sign_in_cookie_name(request: Request) -> str:
    """Name the cookie of an attempt to sign in at a provider."""
    return f"{cookie_name(request)}-sign-in"


def set_cookie(request: Request, response: Response, value: str, seconds: int) -> None:
    """Give the browser its session, or with no seconds take it away."""
    _set_cookie(request, response, cookie_name(request), value, seconds)


def set_sign_in_cookie(request: Request, response: Response, value: str, seconds: int) -> None:
    """Give the browser what it keeps while its owner is at the provider."""
    _set_cookie(request, response, sign_in_cookie_name(request), value, seconds)


def _set_cookie(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    # Lax: with Strict an address that a colleague sends would ask to sign in again, and the way
    # back from a provider would end there.
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path="/",
        secure=is_https(request),
        httponly=True,
        samesite="lax",
    )


class Attempts:
    """Counts failed attempts to sign in by address."""

    def __init__(self) -> None:
        self._failures = Buckets(ATTEMPTS, ATTEMPTS.number)

    def take(self, request: Request) -> bool:
        """Take an attempt. Returns False where there were too many."""
        return self._failures.take(_address_of(request)).is_allowed

    def give_back(self, request: Request) -> None:
        """Count the attempt no more: it has succeeded."""
        self._failures.give_back(_address_of(request))


def retry_after() -> dict[str, str]:
    return {"Retry-After": str(ATTEMPTS.seconds // ATTEMPTS.number)}


def _own_origins(request: Request, public_url: str | None) -> set[str]:
    origins = {f"{request.url.scheme}://{request.headers.get('host', '')}".lower()}
    if public_url is not None:
        address = urlsplit(public_url)
        origins.add(f"{address.scheme}://{address.netloc}".lower())
    return origins


def _address_of(request: Request) -> str:
    return client_of(request.client.host) if request.client else "unknown"
