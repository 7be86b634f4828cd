"""Answers 421 to a request for a host that this service does not go by.

A page can make its own name lead to 127.0.0.1, after which the browser lets it read what a service
there answers. Only the name in Host tells such a request from one of this machine's.
"""

from collections.abc import Collection
from http import HTTPStatus

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service_kit.problems import Problem
from service_kit.web.overload import UNLIMITED
from service_kit.web.problems import answer, refusal


class MisdirectedRequest(Problem):
    """The host that the request names is none of `ALLOWED_HOSTS`."""

    status = HTTPStatus.MISDIRECTED_REQUEST
    slug = "misdirected-request"

    def __init__(self) -> None:
        super().__init__(
            "This service does not answer under the name in the Host header. "
            "If it should, its operator adds that name to ALLOWED_HOSTS."
        )


class AllowedHosts:
    """Lets pass what names one of these hosts, and what probes ask, which go by addresses."""

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        self.app = app
        self.names = frozenset(name for name in allowed if not name.startswith("*"))
        self.endings = tuple(name[1:] for name in allowed if name.startswith("*"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNLIMITED or self._names_us(scope):
            await self.app(scope, receive, send)
        else:
            request = Request(scope)
            refused = refusal(request) or answer(request, MisdirectedRequest())
            await refused(scope, receive, send)

    def _names_us(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"host"), b"")
        host = host_of(given.decode("latin-1"))
        return host in self.names or host.endswith(self.endings)


def host_of(authority: str) -> str:
    """Return the name in a Host header: without its port, and as any way to write it."""
    if authority.startswith("["):
        host, bracket, _ = authority.partition("]")
        return host.lower() + bracket
    return authority.partition(":")[0].lower().removesuffix(".")
