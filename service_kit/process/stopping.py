"""The news that the process is to end, for those who would otherwise keep it waiting."""

import asyncio
import logging
import signal
from collections.abc import Awaitable
from types import FrameType

logger = logging.getLogger(__name__)


class Stopping:
    """Set once, at the first SIGTERM or Ctrl-C, or when a part of the service has died."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.failed = False

    def begin(self) -> None:
        self._event.set()

    def begin_on_signals(self) -> None:
        """Begin to stop when the server gets a signal; it tells the app only after the last answer.

        Long polls then end at once, and nothing new is begun.
        """
        loop = asyncio.get_running_loop()
        of_server = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}

        def on_signal(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self.begin)
            handler = of_server[signal.Signals(number)]
            if callable(handler):
                handler(number, frame)

        for number in of_server:
            signal.signal(number, on_signal)

    @property
    def begun(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> None:
        await self._event.wait()

    async def sleep(self, seconds: float, *news: Awaitable[object]) -> None:
        """Sleep, but not past the stop, nor past the first of these."""
        # Even where there is nothing to wait for: Python warns of a coroutine that nobody awaits.
        waiting = [asyncio.ensure_future(one) for one in (self.wait(), *news)]
        try:
            if seconds > 0 and not self.begun:
                await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()

    def watch(self, task: asyncio.Task[None]) -> None:
        """End the process when this task raises, so that whoever runs it starts it again.

        Otherwise nobody would notice, and the service would look healthy and do nothing.
        """
        task.add_done_callback(self._on_done)

    def fail(self, task: asyncio.Task[None]) -> None:
        """End the process because of a task that should not have ended."""
        self.failed = True
        error = None if task.cancelled() else task.exception()
        logger.critical("%s has died; the process ends.", task.get_name(), exc_info=error)
        signal.raise_signal(signal.SIGTERM)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.fail(task)
