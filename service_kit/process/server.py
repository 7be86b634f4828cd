"""Runs an app in this process: deadlines for slow clients, news of a stop at once, exit code 0."""

import asyncio
import logging
import os
import signal
import socket
from types import FrameType
from typing import Any

import uvicorn

from service_kit.process.settings import ServiceSettings
from service_kit.process.starting import Starting
from service_kit.web.protocol import DeadlineProtocol

# Requests in flight get this long after a signal; the whole stop takes less than ten seconds.
GRACEFUL_STOP_SECONDS = 6
# Longer than the usual load balancer's minute, so that it is never we who close first.
KEEP_ALIVE_SECONDS = 65
BACKLOG = 2048
# The event loop takes one connection from each socket in a turn, and a turn of a busy one is long:
# through a single one the last of 200 new callers would wait for seconds.
ACCEPTED_AT_ONCE = 16

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

logger = logging.getLogger(__name__)


class CannotListen(RuntimeError):
    """The address is taken, or not this machine's."""


def end_on_signals() -> None:
    """End at once at a signal, until a server takes over: nothing has been accepted yet.

    Without it the process would die by the signal or, as the first of a container, ignore it.
    """
    for number in STOP_SIGNALS:
        # An exception would be lost where the signal comes into the callback of a weak reference.
        signal.signal(number, lambda *_: os._exit(0))


class _Server(uvicorn.Server):
    """Tells the app of a signal at once, so that long polls end and nothing new is begun.

    Uvicorn's own handler raises the signal again when all is done, so that the process dies by it;
    a service that has stopped as it was asked to ends with exit code 0 instead.
    """

    def __init__(self, config: uvicorn.Config, starting: Starting) -> None:
        super().__init__(config)
        self._starting = starting
        self._running_loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._running_loop = asyncio.get_running_loop()
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._starting.exit_code != 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.should_exit = True
        if self._running_loop is not None:
            self._running_loop.call_soon_threadsafe(self._starting.stop)


def run(starting: Starting, settings: ServiceSettings, listening: socket.socket) -> int:
    """Serve until a signal comes. Returns the exit code."""
    _Server(config(starting, settings), starting).run(sockets=often(listening))
    if starting.is_loading:
        # Its thread may be in the middle of anything, and Python can't end it cleanly.
        os._exit(0)
    return starting.exit_code


def config(app: Any, settings: ServiceSettings, **more: Any) -> uvicorn.Config:
    """Build what uvicorn needs to know, whether it serves here or in workers."""
    return uvicorn.Config(
        app,
        interface="asgi3",
        http=DeadlineProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(settings.forwarded_allow_ips),
        forwarded_allow_ips=settings.forwarded_allow_ips,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_STOP_SECONDS,
        **more,
    )


def often(listening: socket.socket) -> list[socket.socket]:
    """Return the same socket many times."""
    return [listening, *(listening.dup() for _ in range(1, ACCEPTED_AT_ONCE))]


def listen(host: str, port: int) -> socket.socket:
    """Take the address before anything else is done. Raises CannotListen."""
    shown = f"[{host}]" if ":" in host else host  # as a URL has an IPv6 address
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        # A port whose last owner was killed a moment ago is free; one in use stays refused.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise CannotListen(
            f"{shown}:{port}: {error.strerror}. Choose others with HOST and PORT."
        ) from error
    listening.listen(BACKLOG)
    logger.info("Listening on http://%s:%d", shown, port)
    return listening
