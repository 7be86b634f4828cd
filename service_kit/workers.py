"""Several processes behind one listening socket; one that dies is replaced."""

import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any

from service_kit.commands import EXIT_REFUSED
from service_kit.server import GRACEFUL_STOP_SECONDS

logger = logging.getLogger(__name__)

# A worker that can't start would otherwise be started again as fast as the machine can.
PAUSE_BEFORE_RESTART_SECONDS = 1.0

# Serves on the socket until a signal comes and returns the exit code; importable by name.
Work = Callable[[socket.socket], int]


def supervise(work: Work, listening: socket.socket, count: int) -> int:
    """Keep `count` processes at work until SIGTERM or Ctrl-C, then wait for their graceful stop."""
    with tempfile.TemporaryDirectory(prefix="metrics-") as folder:
        # By it prometheus-client knows to add up the workers' figures.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        return _Supervisor(work, listening).run(count)


class _Supervisor:
    def __init__(self, work: Work, listening: socket.socket) -> None:
        self._work = work
        self._listening = listening
        self._spawn = multiprocessing.get_context("spawn")
        self._workers: list[SpawnProcess] = []
        self._stopping = False
        # What a signal's handler writes to ends a wait at once.
        self._news, self._tell = os.pipe()

    def run(self, count: int) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._workers = [self._start() for _ in range(count)]
        while not self._stopping:
            wait([self._news, *(worker.sentinel for worker in self._workers)])
            for index, worker in enumerate(self._workers):
                if not worker.is_alive() and not self._stopping:
                    self._replace(index, worker)
        return self._join()

    def _start(self) -> SpawnProcess:
        worker = self._spawn.Process(target=_enter, args=(self._work, self._listening))
        worker.start()
        return worker

    def _replace(self, index: int, worker: SpawnProcess) -> None:
        if worker.exitcode == EXIT_REFUSED:
            # It has said why, and the next one would say the same.
            logger.error("Worker %d refused to start; the service ends.", worker.pid)
            self._stopping = True
            return
        logger.error("Worker %d ended with %s; starting another.", worker.pid, worker.exitcode)
        if not wait([self._news], timeout=PAUSE_BEFORE_RESTART_SECONDS):
            self._workers[index] = self._start()

    def _stop(self, *_: Any) -> None:
        self._stopping = True
        os.write(self._tell, b"!")

    def _join(self) -> int:
        for worker in self._workers:
            worker.terminate()
        give_up_at = time.monotonic() + GRACEFUL_STOP_SECONDS + 2
        for worker in self._workers:
            worker.join(max(0.0, give_up_at - time.monotonic()))
            if worker.is_alive():
                logger.error("Worker %d did not stop in time; killing it.", worker.pid)
                worker.kill()
                worker.join()
        # One that was still starting dies by our signal, as it should.
        codes = [0 if one.exitcode == -signal.SIGTERM else one.exitcode for one in self._workers]
        return max(abs(code or 0) for code in codes)


def _enter(work: Work, listening: socket.socket) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    raise SystemExit(work(listening))


def _end_with_parent() -> None:
    """Stop when the supervisor was killed, or the port would stay taken by processes of nobody."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
