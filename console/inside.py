"""Calls the app that the console is mounted in, within the process."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import httpx
from starlette.types import ASGIApp

# An extension of a request whose answer is passed on as it comes.
AS_IT_COMES = "as_it_comes"


class Inside(httpx.AsyncBaseTransport):
    """Gives the app the address that its own caller has."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        client = request.extensions.get("client", ("127.0.0.1", 0))
        if request.extensions.get(AS_IT_COMES):
            return await _Call(self._app, request, client).answer()
        transport = httpx.ASGITransport(self._app, client=client)
        return await transport.handle_async_request(request)


class _Call(httpx.AsyncByteStream):
    """One call whose answer is read piece by piece; the app waits until each is taken."""

    def __init__(self, app: ASGIApp, request: httpx.Request, client: tuple[str, int]) -> None:
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path.split(b"?")[0],
            "query_string": request.url.query,
            "server": (request.url.host, request.url.port),
            "client": client,
            "root_path": "",
        }
        self._head: asyncio.Future[MutableMapping[str, Any]] = (
            asyncio.get_running_loop().create_future()
        )
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self._left = asyncio.Event()
        self._has_asked = False
        self._task = asyncio.create_task(self._run(app))

    async def answer(self) -> httpx.Response:
        """Wait for the answer's head. Raises what the app raises before it."""
        try:
            head = await self._head
        except BaseException:
            await self.aclose()
            raise
        return httpx.Response(head["status"], headers=head["headers"], stream=self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            yield piece
        await self._task  # raises what the app has raised behind the head

    async def aclose(self) -> None:
        """Leave, as a client does that disconnects."""
        self._left.set()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self._receive, self._send)
        except Exception as error:
            if self._head.done():
                raise
            self._head.set_exception(error)
        finally:
            if not self._left.is_set():
                await self._pieces.put(None)

    async def _receive(self) -> MutableMapping[str, Any]:
        if not self._has_asked:
            self._has_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._head.set_result(message)
        elif body := message.get("body"):
            await self._pieces.put(body)
