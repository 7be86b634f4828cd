"""A service from its first moment: it says that it is alive, and has whoever asks more wait.

To load a service takes a third of a second, its database may come up after it, and to migrate a
large one takes minutes. A probe that got no answer meanwhile would have the process killed, in the
middle of its migration perhaps.
"""

import asyncio
import functools
import gc
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from service_kit import VERSION
from service_kit.process.cli import EXIT_REFUSED, STARTING
from service_kit.web.edge import request_id_of
from service_kit.web.problems import MEDIA_TYPE, Problem, ServiceUnavailable, write

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

    from service_kit.process.settings import ServiceSettings

EXIT_FAILED = 1
# Longer than a service takes to load, and shorter than callers wait.
WAIT_SECONDS = 5.0
YOUNG_OBJECTS = 10_000

# Makes the app; returns None where the service refuses to start, and has said why.
Load = Callable[[], "FastAPI | None"]

logger = logging.getLogger(__name__)


class Starting:
    """What a server serves: has a thread load the app, then hands everything over to it."""

    def __init__(self, name: str, settings: "ServiceSettings", load: Load) -> None:
        self.exit_code = 0
        self.is_loading = False
        self._load = load
        self._app: FastAPI | None = None  # once it is loaded
        self._serving: FastAPI | None = None  # once all that it stands on is there as well
        self._decided = asyncio.Event()
        self._not_ready = {
            "status": "unavailable",
            "app_name": name,
            "version": VERSION,
            "environment": settings.environment,
            "database": "unreachable",
        }

    def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> Awaitable[None]:
        if self._serving is not None:
            return self._serving(scope, receive, send)
        if scope["type"] == "lifespan":
            return self._live(receive, send)
        return self._answer_early(scope, receive, send)

    def stop(self) -> None:
        """Have long polls end and nothing new begun; no request is to wait for a start."""
        self._decided.set()
        if self._app is not None:
            self._app.state.stopping.begin()

    async def _live(self, receive: "Receive", send: "Send") -> None:
        """Start and end the app, as ASGI's lifespan protocol has it; the server accepts at once."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        try:
            await self._load_app()
            if self._app is not None:
                async with self._app.router.lifespan_context(self._app):
                    self._serving = self._app
                    self._decided.set()
                    end_of_start()
                    await receive()
                if self._app.state.stopping.failed:
                    self.exit_code = EXIT_FAILED
        except Exception:
            logger.exception("The service ends, since a part of it has failed.")
            self.exit_code = EXIT_FAILED
        self._decided.set()

    async def _load_app(self) -> None:
        """Load it in a thread, which nobody waits for who is told to stop."""
        self.is_loading = True
        loading = _in_thread(self._load)
        stopped = asyncio.ensure_future(self._decided.wait())
        await asyncio.wait((loading, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not loading.done():
            return
        self.is_loading = False
        self._app = loading.result()
        if self._app is None:
            self.exit_code = EXIT_REFUSED

    async def _answer_early(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        path = scope["path"].rstrip("/")
        if path == "/health" and scope["method"] in {"GET", "HEAD"}:
            await _tell(scope, send, HTTPStatus.OK, {"status": "ok"})
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                await self._decided.wait()
        if self._serving is not None:
            await self._serving(scope, receive, send)
        elif path == "/health/ready":
            await _tell(scope, send, HTTPStatus.SERVICE_UNAVAILABLE, self._not_ready)
        else:
            problem = ServiceUnavailable("The service is not there yet, or no longer.")
            await _refuse(scope, send, problem)


def end_of_start() -> None:
    """Have garbage collected again; what the start has made stays, and need not be looked at."""
    gc.freeze()
    # 64 requests at work are more young objects than Python's 700, and next to none of it garbage.
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    gc.enable()


def _in_thread(load: Load) -> "asyncio.Future[FastAPI | None]":
    """Run it in a thread that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    loaded: asyncio.Future[FastAPI | None] = loop.create_future()

    def run() -> None:
        tell: Callable[[], None]
        try:
            tell = functools.partial(loaded.set_result, load())
        except Exception as error:  # noqa: BLE001 (whatever it is, it is raised in the loop)
            tell = functools.partial(loaded.set_exception, error)
        with suppress(RuntimeError):  # of a loop that was told to stop, and has
            loop.call_soon_threadsafe(tell)

    threading.Thread(target=run, name="start", daemon=True).start()
    return loaded


async def _refuse(scope: "Scope", send: "Send", problem: Problem) -> None:
    request_id = request_id_of(scope)
    instance = scope["raw_path"].decode("ascii", "replace")
    body = write(problem.document(), instance, request_id)
    headers = {**problem.all_headers, "content-type": MEDIA_TYPE}
    await _send(send, problem.status, headers, body, request_id)


async def _tell(scope: "Scope", send: "Send", status: HTTPStatus, what: Mapping[str, Any]) -> None:
    body = json.dumps(what, separators=(",", ":")).encode()
    await _send(send, status, {"content-type": "application/json"}, body, request_id_of(scope))


async def _send(
    send: "Send", status: HTTPStatus, headers: Mapping[str, str], body: bytes, request_id: str
) -> None:
    """Answer without the framework, which may not be loaded yet."""
    own = {"content-length": str(len(body)), "x-request-id": request_id, STARTING: "1"}
    pairs = [(name.lower().encode(), value.encode()) for name, value in {**headers, **own}.items()]
    await send({"type": "http.response.start", "status": status.value, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
