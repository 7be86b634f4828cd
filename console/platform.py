"""The services of the platform, called over HTTP as one who has signed in."""

import time
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx
from starlette.types import ASGIApp

from console.config import Config
from console.inside import AS_IT_COMES, Inside
from service_kit.process import clock
from service_kit.process.outgoing import client_for

# What another service may take to answer, and how long one that has not is not asked again: a page
# that waits for nothing is worth more than a card on it.
SECONDS = 3.0
REST_SECONDS = 5.0


class Answer(NamedTuple):
    """What a service has answered."""

    json: Any
    etag: str | None
    next_cursor: str | None
    headers: Mapping[str, str]


class Down(Exception):
    """A service does not answer."""

    def __init__(self, service: str, since: datetime) -> None:
        super().__init__(f"{service} does not answer.")
        self.service = service
        self.since = since


class Refused(Exception):
    """A service has refused a call, and says why in a problem document."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or f"The service answered {status}."))
        self.status = status
        self.problem = problem

    @property
    def slug(self) -> str:
        return str(self.problem.get("type", "")).removeprefix("urn:problem:")

    @property
    def faults(self) -> dict[str, str]:
        """Return what is wrong with each field of the body, by its name."""
        errors = self.problem.get("errors") or []
        named = [
            ([part for part in error["loc"] if isinstance(part, str)], error["msg"])
            for error in errors
        ]
        return {names[-1]: str(message) for names, message in named if names}


class Unknown(Exception):
    """The service does not know the token, or not any more."""


@dataclass
class Service:
    """One service: how to reach it, and since when it does not answer."""

    key: str
    title: str
    url: str
    client: httpx.AsyncClient
    down_since: datetime | None = None
    _rests_until: float = field(default=0.0, repr=False)

    @property
    def is_inside(self) -> bool:
        """Tell whether it is the app that the console is mounted in."""
        return not self.url

    async def call(
        self, method: str, path: str, *, as_it_comes: bool = False, **options: Any
    ) -> httpx.Response:
        """Send a request. Raises Down, at once where the service has just not answered.

        With `as_it_comes` what is answered to a request that succeeds is still to be read, and
        closed.
        """
        if self.down_since is not None and time.monotonic() < self._rests_until:
            raise Down(self.title, self.down_since)
        try:
            request = self.client.build_request(method, path, **options)
            response = await self.client.send(request, stream=as_it_comes)
            if not response.is_success:
                await response.aread()
        except httpx.HTTPError:
            self._fail()
        else:
            if response.status_code not in _NO_ANSWER:
                self.down_since = None
                return response
            if not self.is_inside and response.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
                self._fail()
        raise Down(self.title, self.down_since or clock.now())

    def _fail(self) -> None:
        self.down_since = self.down_since or clock.now()
        self._rests_until = time.monotonic() + REST_SECONDS


# Of the service itself or of a proxy in front of it.
_NO_ANSWER = {
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}


class Platform:
    """The services that the console shows: the CRM, and those whose address it has."""

    def __init__(self, config: Config, crm: ASGIApp | None) -> None:
        self.services: dict[str, Service] = {}
        if crm is not None:
            inside = httpx.AsyncClient(
                transport=Inside(crm), base_url="http://crm", headers=_ACCEPT, trust_env=False
            )
            self.services["crm"] = Service("crm", "The CRM", "", inside)
        for key, title, url in (
            ("crm", "The CRM", config.crm_url),
            ("inventory", "Inventory", config.inventory_url),
            ("integration", "The integration", config.integration_url),
        ):
            if url is not None:
                client = client_for(url, config.ca_file, SECONDS)
                client.base_url = httpx.URL(url)
                self.services[key] = Service(key, title, url, client)

    async def close(self) -> None:
        for service in self.services.values():
            await service.client.aclose()


_ACCEPT = {"Accept": "application/json"}


class Sent(NamedTuple):
    """A call as a command for curl shows it."""

    method: str
    service: str
    address: str
    body: str | None = None
    # The name of a CSV file that is sent.
    file: str | None = None


@dataclass
class Caller:
    """One service, called with one token, for one request of a browser."""

    service: Service
    token: str
    headers: Mapping[str, str]
    client: tuple[str, int]
    sent: list[Sent]

    async def get(self, path: str, **query: Any) -> Answer:
        """Read something. Raises Refused, Unknown or Down. A parameter that is None is left out."""
        parameters = [
            (name, value)
            for name, given in query.items()
            for value in (given if isinstance(given, list) else [given])
            if value is not None
        ]
        address = f"{path}?{urlencode(parameters)}" if parameters else path
        self.sent.append(Sent("GET", self.service.key, address))
        return await self._call("GET", address)

    async def wait(self, path: str, seconds: float, **query: str) -> Answer:
        """Read something that the service may wait with. Raises as `get` does."""
        address = f"{path}?{urlencode({**query, 'wait': seconds})}"
        response = await self._send("GET", address, {}, timeout=SECONDS + seconds)
        return _answer_of(response)

    async def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return await self._call("POST", path, body, headers)

    async def patch(self, path: str, body: Any, **headers: str) -> Answer:
        return await self._call("PATCH", path, body, headers)

    async def upload(
        self, path: str, content: AsyncIterable[bytes], kind: str, **headers: str
    ) -> Answer:
        """Send a file as it comes."""
        response = await self._send(
            "POST", path, {"Content-Type": kind, **headers}, content=content
        )
        return _answer_of(response)

    async def download(self, path: str) -> httpx.Response:
        """Get a file, to be read as it comes and closed then. Raises as `get` does."""
        self.sent.append(Sent("GET", self.service.key, path))
        response = await self._send("GET", path, {"Accept": "*/*"}, as_it_comes=True)
        if not response.is_success:
            _answer_of(response)
        return response

    async def delete(self, path: str, **headers: str) -> Answer:
        return await self._call("DELETE", path, None, headers)

    async def _call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}
    ) -> Answer:
        return _answer_of(await self._send(method, path, headers, json=body))

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str], **options: Any
    ) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.service.call(
            method,
            path,
            headers={**self.headers, "Authorization": f"Bearer {self.token}", **given},
            extensions={"client": self.client, AS_IT_COMES: options.get("as_it_comes", False)},
            **options,
        )
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            raise Unknown(self.service.key)
        return response


def _answer_of(response: httpx.Response) -> Answer:
    """Read what a service has answered. Raises Refused."""
    found = _json_of(response)
    if response.is_success:
        cursor = response.headers.get("x-next-cursor")
        return Answer(found, response.headers.get("etag"), cursor, response.headers)
    raise Refused(response.status_code, found if isinstance(found, dict) else {})


def _json_of(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None
