"""Several processes behind one listening socket, under uvicorn's supervisor.

It replaces a worker that has died, and one that does not answer it for too long.
"""

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from uvicorn.supervisors import Multiprocess

from service_kit.process import server
from service_kit.process.settings import ServiceSettings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

# Longer than a worker on a busy machine takes until it can answer for the first time.
SILENT_SECONDS = 15
STOP_SECONDS = server.GRACEFUL_STOP_SECONDS + 2

logger = logging.getLogger(__name__)


def supervise(
    create: Callable[[], "Worker"], settings: ServiceSettings, listening: socket.socket
) -> int:
    """Keep workers at work until SIGTERM or Ctrl-C. Returns the exit code.

    `create` is called in each worker, so it must be importable by name. A worker that can't start
    ends them all.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.INFO)  # it tells what becomes of workers
    config = server.config(
        create,
        settings,
        factory=True,
        workers=settings.workers,
        timeout_worker_healthcheck=SILENT_SECONDS,
    )
    with tempfile.TemporaryDirectory(prefix="metrics-") as folder:
        # By it prometheus-client knows to add up the workers' figures.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        supervisor = _Supervisor(config, server.often(listening))
        supervisor.run()
    # A worker that has stopped as it was asked to dies by our signal.
    codes = [0 if one.exitcode == -signal.SIGTERM else one.exitcode for one in supervisor.processes]
    return max(abs(code or 0) for code in codes)


class _Supervisor(Multiprocess):
    """Uvicorn's, but for a worker that does not stop: it would wait for that one for ever."""

    def join_all(self) -> None:
        give_up_at = time.monotonic() + STOP_SECONDS
        for worker in self.processes:
            worker.process.join(max(0.0, give_up_at - time.monotonic()))
            if worker.process.is_alive():
                logger.error("Worker %d did not stop in time; killing it.", worker.pid)
                worker.process.kill()
        super().join_all()


class Worker:
    """What a worker serves: its app, which hears of a stop at once, so that long polls end."""

    def __init__(self, app: "FastAPI") -> None:
        self._app = app
        threading.Thread(target=_end_with_supervisor, daemon=True).start()

    def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> Awaitable[None]:
        if scope["type"] == "lifespan":
            self._hear_of_signals()
        return self._app(scope, receive, send)

    def _hear_of_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in server.STOP_SIGNALS:
            self._hear_of(number, loop)

    def _hear_of(self, number: signal.Signals, loop: asyncio.AbstractEventLoop) -> None:
        of_uvicorn: Any = signal.getsignal(number)

        def on_signal(*args: Any) -> None:
            loop.call_soon_threadsafe(self._app.state.stopping.begin)
            of_uvicorn(*args)

        signal.signal(number, on_signal)


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """End at once at a signal while a worker starts: nothing has been accepted yet."""
    of_uvicorn = {number: signal.getsignal(number) for number in server.STOP_SIGNALS}
    server.end_on_signals()
    yield
    for number, handler in of_uvicorn.items():
        signal.signal(number, handler)


def _end_with_supervisor() -> None:
    """Stop when the supervisor was killed, or the port would stay taken by processes of nobody."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
