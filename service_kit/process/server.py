"""Runs an app under uvicorn: in this process, or in several workers that share one socket."""

import gc
import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from service_kit.process.environment import Refused
from service_kit.process.protocol import DeadlineProtocol
from service_kit.process.settings import ServiceSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

EXIT_FAILED = 1
# Requests in flight get this long after a signal; the whole stop takes less than ten seconds.
GRACEFUL_STOP_SECONDS = 6
# A worker that has not stopped by then hangs.
STOP_SECONDS = GRACEFUL_STOP_SECONDS + 2
# Longer than the usual load balancer's minute, so that it is never we who close first.
KEEP_ALIVE_SECONDS = 65
# uvloop accepts one connection of each socket in a turn of the loop, and a turn of a busy one is
# long: through a single socket the last of 200 new callers would wait for seconds.
ACCEPTED_AT_ONCE = 16
# Longer than a worker on a busy machine takes until it answers its supervisor.
SILENT_SECONDS = 15
# 64 requests at work are more young objects than Python's 700, and next to none of it is garbage.
YOUNG_OBJECTS = 10_000

Create = Callable[[], "FastAPI"]

logger = logging.getLogger(__name__)


def bind(host: str, port: int) -> socket.socket:
    """Take the address; nobody can connect yet. Raises Refused where it can't be had."""
    with _refuse_unusable_address(host, port), ExitStack() as unless_bound:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = unless_bound.enter_context(socket.socket(family, kind, protocol))
        # A port whose last owner was killed a moment ago is free; one in use stays refused.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        unless_bound.pop_all()
    return bound


def many_times(bound: socket.socket) -> list[socket.socket]:
    """Return as many handles of the socket as connections are to be accepted at once."""
    return [bound, *(bound.dup() for _ in range(1, ACCEPTED_AT_ONCE))]


def run(create: Create, settings: ServiceSettings, bound: socket.socket) -> int:
    """Serve until a signal comes. Returns the exit code.

    `create` makes the app of a process. Workers get it by its name, so it must be importable.
    """
    with _refuse_unusable_address(settings.host, settings.port):
        bound.listen()
    logger.info("Listening on http://%s:%d", _shown(settings.host), settings.port)
    sockets = many_times(bound)
    if settings.workers > 1:
        return _supervise(_config(partial(_load, create), settings), sockets)
    apps: list[FastAPI] = []

    def load() -> "FastAPI":
        apps.append(_load(create))
        return apps[0]

    with suppress(KeyboardInterrupt):  # uvicorn raises the signal that ended it once more
        uvicorn.Server(_config(load, settings)).run(sockets)
    return EXIT_FAILED if any(app.state.stopping.failed for app in apps) else 0


def _config(create: Create, settings: ServiceSettings) -> uvicorn.Config:
    return uvicorn.Config(
        create,
        factory=True,
        workers=settings.workers,
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
        timeout_worker_healthcheck=SILENT_SECONDS,
    )


def _load(create: Create) -> "FastAPI":
    """Make the app of this process. uvicorn calls it in its loop, with its signal handlers set."""
    app = create()
    app.state.stopping.begin_on_signals()
    if (supervisor := multiprocessing.parent_process()) is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches all; the supervisor acts
        threading.Thread(target=_end_with, args=(supervisor,), daemon=True).start()
    gc.freeze()  # what a start has made stays: no collection need look through it again
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    return app


def _end_with(supervisor: Any) -> None:
    """Stop when the supervisor was killed, or the port would stay taken by processes of nobody."""
    supervisor.join()
    os.kill(os.getpid(), signal.SIGTERM)


class _Supervisor(Multiprocess):
    """uvicorn's, which would wait for ever for a worker that does not stop."""

    def join_all(self) -> None:
        give_up_at = time.monotonic() + STOP_SECONDS
        for worker in self.processes:
            worker.process.join(max(0.0, give_up_at - time.monotonic()))
            if worker.process.is_alive():
                logger.error("Worker %d did not stop in time; killing it.", worker.pid)
                worker.process.kill()
        super().join_all()


def _supervise(config: uvicorn.Config, sockets: list[socket.socket]) -> int:
    """Keep workers at work; the first that can't start ends them all."""
    logging.getLogger("uvicorn.error").setLevel(logging.INFO)  # it tells what becomes of workers
    with tempfile.TemporaryDirectory(prefix="metrics-") as folder:
        # The workers' figures, which prometheus-client adds up, those of the dead included.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        supervisor = _Supervisor(config, sockets)
        supervisor.run()
    # A worker that has stopped as it was asked to dies by our signal, or by the Ctrl-C.
    codes = {worker.exitcode or 0 for worker in supervisor.processes}
    return max(map(abs, codes - {-signal.SIGTERM, -signal.SIGINT}), default=0)


@contextmanager
def _refuse_unusable_address(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{_shown(host)}:{port}: {error.strerror}. Choose others with HOST and PORT."
        raise Refused(message) from error


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host  # as a URL has an IPv6 address
