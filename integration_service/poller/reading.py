"""Polls the feed again and again, for whoever writes down what it says."""

import asyncio
from typing import Protocol

from integration_service.feed.ingest import EARLY_ANSWER_PAUSE_SECONDS
from integration_service.ledger.lease import Lease
from service_kit.process.stopping import Stopping


class FeedReader(Protocol):
    # Whether it waits for the CRM's answer, and so can be cancelled without a loss.
    is_waiting: bool

    async def poll(self, lease: Lease, *, wait: float) -> float:
        """Poll once. Returns how many seconds may pass until the next poll."""


class FeedLoop:
    """Polls for one reader."""

    def __init__(self, reader: FeedReader, long_poll_seconds: float) -> None:
        self._reader = reader
        self._long_poll_seconds = long_poll_seconds
        # Set when the feed is to be polled now.
        self.woken = asyncio.Event()

    async def run(self, lease: Lease, stopping: Stopping) -> None:
        """Go on until the process is to stop.

        A wake-up during a long poll cancels that request and repeats it with wait=0. A poll whose
        answer has come is never cancelled by a wake-up; a stop cancels it anywhere, and what it was
        about to write is read again after the next start.
        """
        skip_long_poll = False
        while not stopping.begun:
            self.woken.clear()
            wait = 0.0 if skip_long_poll else self._long_poll_seconds
            poll = asyncio.create_task(self._reader.poll(lease, wait=wait))
            stop = asyncio.create_task(stopping.wait())
            woken = asyncio.create_task(self.woken.wait())
            try:
                await asyncio.wait({poll, stop, woken}, return_when=asyncio.FIRST_COMPLETED)
                if stop.done():
                    return
                if not poll.done() and self._reader.is_waiting and not skip_long_poll:
                    skip_long_poll = True
                    continue
                seconds = await poll
                if skip_long_poll and self._long_poll_seconds:
                    seconds = min(seconds, EARLY_ANSWER_PAUSE_SECONDS)
                await stopping.sleep(seconds, self.woken.wait())
                skip_long_poll = self.woken.is_set()
            finally:
                stop.cancel()
                woken.cancel()
                poll.cancel()
                await asyncio.gather(poll, return_exceptions=True)
