"""The way to PostgreSQL, which falls silent: all that is open stays so, and nothing passes."""

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

CHUNK = 1 << 16


class DatabaseLink:
    """Listens on a port of its own and forwards to the server's socket."""

    def __init__(self, server_url: str) -> None:
        [folder] = parse_qs(urlsplit(server_url).query)["host"]
        [socket] = Path(folder).glob(".s.PGSQL.*[0-9]")
        self._socket = str(socket)
        self._silent_until = -math.inf
        self._listening: asyncio.Server | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.close()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def url(self, database_url: str) -> str:
        """Return the way to a database through this link."""
        assert self._listening is not None
        port = self._listening.sockets[0].getsockname()[1]
        path = urlsplit(database_url).path
        return f"postgresql://postgres@127.0.0.1:{port}{path}?sslmode=disable"

    def fall_silent(self, seconds: float) -> None:
        """Let nothing pass on what is open, for ever, nor on what is opened within so long."""
        self._silent_until = time.monotonic() + seconds

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        opened_at = time.monotonic()
        pumps: Sequence[asyncio.Task[None]] = ()
        writers = [writer]
        try:
            with suppress(OSError, asyncio.CancelledError):
                answers, questions = await asyncio.open_unix_connection(self._socket)
                writers.append(questions)
                pumps = [
                    asyncio.create_task(self._pump(reader, questions, opened_at)),
                    asyncio.create_task(self._pump(answers, writer, opened_at)),
                ]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for one in writers:
                one.close()
            self._under_way.discard(task)

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, opened_at: float
    ) -> None:
        with suppress(OSError):
            while data := await source.read(CHUNK):
                if opened_at > self._silent_until:
                    target.write(data)
                    await target.drain()
