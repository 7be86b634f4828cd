"""The news that the process is to end, for those who would otherwise keep it waiting."""

import asyncio
import logging
import signal

logger = logging.getLogger(__name__)


class Stopping:
    """Set once, at the first SIGTERM or Ctrl-C, or when a part of the service has died."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.failed = False

    def begin(self) -> None:
        self._event.set()

    @property
    def begun(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> None:
        await self._event.wait()

    def watch(self, task: asyncio.Task[None]) -> None:
        """End the process when this task dies, so that whoever runs it starts it again.

        A task that raises does so silently otherwise: the service would look healthy for ever and
        never do its work again.
        """
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        self.failed = True
        logger.critical("%s has died; the process ends.", task.get_name(), exc_info=error)
        signal.raise_signal(signal.SIGTERM)
