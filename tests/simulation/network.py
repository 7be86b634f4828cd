"""The network between the integration and the services, and everything that it may do to a request.

A fault is a function of a link and a request that returns an answer, or raises what a client would.
"""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn

import httpx

from tests.posting import HttpxPoster
from tests.simulation.machines import PROCESS

if TYPE_CHECKING:
    from tests.simulation.world import World

Fault = Callable[["Link", httpx.Request], Awaitable[httpx.Response]]
FAULTS: dict[str, Fault] = {}


def fault(act: Fault) -> Fault:
    FAULTS[act.__name__] = act
    return act


class Link:
    """The way to one service. `faults` holds what happens to the next requests, one each.

    `poison` holds how many more requests about each customer the service fails at.
    """

    def __init__(self, world: "World", service: str) -> None:
        self.world = world
        self.service = service
        self.faults: deque[str] = deque()
        self.poison: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()

    async def exchange(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(self.world.chance.uniform(0.001, 0.02))
        name = self._next_fault(request)
        what = f"{request.method} {self.service}{request.url.raw_path.decode()}"
        self.world.note(f"{what} {name or ''}")
        if name is not None:
            self.seen[name] += 1
        answer = await (FAULTS[name](self, request) if name else self.deliver(request))
        self.world.note(f"{answer.status_code} to {what}")
        return answer

    def _next_fault(self, request: httpx.Request) -> str | None:
        for uid, left in self.poison.items():
            if left and uid.encode() in request.content:
                self.poison[uid] -= 1
                return "foreign_500"
        return self.faults.popleft() if self.faults else None

    def heal(self) -> None:
        self.faults.clear()
        self.poison.clear()

    async def deliver(self, request: httpx.Request) -> httpx.Response:
        """Have the service answer. What it does goes on when whoever asked no longer waits."""
        server = self.world.processes.get(self.service)
        if server is None:
            raise httpx.ConnectError("Connection refused")
        task = server.start(_answer(self.world.apps[self.service], request))
        await asyncio.wait({task})
        if task.cancelled() or not server.is_alive:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        answer: httpx.Response = task.result()
        if answer.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            self.world.found("bug", f"{request.method} {request.url} was answered 500")
        return answer

    async def deliver_later(self, request: httpx.Request, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.world.note(f"late: {request.method} {self.service}{request.url.raw_path.decode()}")
        try:
            await self.deliver(request)
        except httpx.TransportError:
            self.world.note("late, and nobody is there")


class Wire(httpx.AsyncBaseTransport):
    """What the integration's HTTP client has in place of sockets."""

    def __init__(self, **_: Any) -> None:
        self._process = PROCESS.get()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._process.check()
        answer = await self._process.world.links[request.url.host].exchange(request)
        self._process.check()
        stream = httpx.ByteStream(answer.content)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=stream)


class WirePoster(HttpxPoster):
    """What its webhooks have in place of sockets."""

    def __init__(self, url: httpx.URL, context: Any) -> None:
        super().__init__(url, context, Wire())


async def _answer(app: Any, request: httpx.Request) -> httpx.Response:
    """Have an ASGI app answer; httpx's own way looks for another event loop each time."""
    body, parts, start = await request.aread(), [], {}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("10.0.0.1", 1024),
        "server": (request.url.host, 80),
    }
    asked = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        # Whoever waits for more waits for the end of the connection, which comes with the answer.
        return next(asked, None) or await _never()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return httpx.Response(start["status"], headers=start["headers"], content=b"".join(parts))


async def _never() -> NoReturn:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


@fault
async def refused(link: Link, request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("Connection refused")


@fault
async def mute(link: Link, request: httpx.Request) -> httpx.Response:
    return await _never()


@fault
async def answer_lost(link: Link, request: httpx.Request) -> httpx.Response:
    await link.deliver(request)
    raise httpx.ReadError("Connection reset by peer")


@fault
async def answer_never(link: Link, request: httpx.Request) -> httpx.Response:
    await link.deliver(request)
    return await _never()


@fault
async def doubled(link: Link, request: httpx.Request) -> httpx.Response:
    first = await link.deliver(request)
    await link.deliver(request)
    return first


@fault
async def late(link: Link, request: httpx.Request) -> httpx.Response:
    seconds = link.world.chance.choice((1.0, 12.0, 40.0, 120.0))
    link.world.outside(link.deliver_later(request, seconds))
    raise httpx.ReadError("Connection reset by peer")


@fault
async def slow(link: Link, request: httpx.Request) -> httpx.Response:
    await asyncio.sleep(link.world.chance.uniform(0.5, 12.0))
    return await link.deliver(request)


@fault
async def cut(link: Link, request: httpx.Request) -> httpx.Response:
    answer = await link.deliver(request)
    return httpx.Response(answer.status_code, content=answer.content[: len(answer.content) // 2])


def _foreign(status: int) -> Fault:
    """A page of something between: a proxy, a firewall, a captive portal."""

    async def answer(link: Link, request: httpx.Request) -> httpx.Response:
        problem = {"title": "Blocked", "status": status, "detail": "Ask your administrator."}
        page = link.world.chance.choice(("<h1>Blocked</h1>", json.dumps(problem)))
        return httpx.Response(status, content=page.encode())

    return answer


for _status in (200, 302, 400, 401, 403, 404, 409, 410, 413, 422, 429, 500, 502, 503, 504):
    FAULTS[f"foreign_{_status}"] = _foreign(_status)
