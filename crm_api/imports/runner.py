"""Imports at work: each a task of the process that took its file, and a watch over all of them.

A process counts up each import that it works on. Where a count stands still its process has died,
and whichever process watches ends the import; should the process only have been stopped, it finds
its import ended, and ends its work.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from crm_api import import_reports
from crm_api.imports import service, store
from crm_api.imports.chunks import Chunks
from crm_api.imports.models import FAILED, FINISHED, INTERRUPTED, Import
from crm_api.imports.upload import Upload
from crm_api.transfer import importing, table
from service_kit.database import Database
from service_kit.problems import InvalidRequest, ServiceUnavailable
from service_kit.process import clock
from service_kit.process.stopping import Stopping
from service_kit.web.auth import Principal

# Uploads and imports at once in this process, whose files are on its disk.
MOST_FILES = 4
BEAT_SECONDS = 3.0
WATCH_SECONDS = 5.0
# For which a count stands still before its process is taken for dead.
SILENT_SECONDS = 15.0
# While the database can't be written. Then the import fails.
RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """An import that has begun, with its file and its caller."""

    row: Import
    upload: Upload
    who: Principal


class Stopped(Exception):
    """The process ends in the middle of an import."""


class Imports:
    """The imports of this process, and the watch over those of processes that have died."""

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping
        self._uploading: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = False

    @asynccontextmanager
    async def on(self, database: Database) -> AsyncIterator[None]:
        """Work on this database, which is open, until the end."""
        watching = asyncio.create_task(self._watch(database), name="The watch over imports")
        self._stopping.watch(watching)
        try:
            yield
        finally:
            self._ending = True
            watching.cancel()
            await asyncio.gather(watching, *self._tasks, return_exceptions=True)

    @contextmanager
    def upload(self, who: Principal) -> Iterator[None]:
        """Take a place for a file that comes. Raises ImportRunning or TooManyImports."""
        if who.credential in self._uploading:
            raise service.ImportRunning("A file of yours is just being received.")
        if len(self._uploading) + len(self._tasks) >= MOST_FILES:
            raise service.TooManyImports(f"{MOST_FILES} files are being received or imported.")
        self._uploading.add(who.credential)
        try:
            yield
        finally:
            self._uploading.discard(who.credential)

    async def check(self, upload: Upload) -> tuple[list[str], int]:
        """Check a file, and read its header and how many rows it has. Raises InvalidRequest."""
        try:
            return await asyncio.to_thread(table.check, upload.file)
        except table.NotATable as error:
            raise InvalidRequest(
                "The file can't be read as a table of customers.",
                errors=[{"loc": ["body"], "msg": str(error)}],
            ) from None

    def start(self, database: Database, job: Job) -> None:
        """Import a file in the background; it is closed in the end."""
        task = asyncio.create_task(self._run(database, job), name=f"import {job.row.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, database: Database, job: Job) -> None:
        beating = asyncio.create_task(_beat(database, job.row.id))
        try:
            state, problem = await self._outcome(database, job)
        finally:
            beating.cancel()
            job.upload.file.close()
        if state is None:
            return
        try:
            ended = await self._write(database, service.end, job.row.id, state, problem)
        except ServiceUnavailable as error:
            logger.warning("Import %d has ended, which can't be written: %s", job.row.id, error)
        else:
            _log_end(ended)

    async def _outcome(self, database: Database, job: Job) -> tuple[str | None, str | None]:
        """Do the work. Returns the state in which it ends, and why; None where it has one."""
        try:
            await self._import(database, job)
        except service.NoLongerRunning:
            logger.warning("Import %d was taken for dead; this process stops it.", job.row.id)
            return None, None
        except Stopped:
            return INTERRUPTED, None
        except ServiceUnavailable:
            if self._stopping.begun or self._ending:
                return INTERRUPTED, None
            return FAILED, "The database could not be used. Send the file again."
        except Exception:
            logger.exception("Import %d has failed because of a bug.", job.row.id)
            return FAILED, "This is our fault. The log has the details under the request id."
        return FINISHED, None

    async def _import(self, database: Database, job: Job) -> None:
        row, done = job.row, 0
        logger.info("Import %d of %d rows, sent by %s, begins.", row.id, row.rows, row.actor)
        with ThreadPoolExecutor(1, f"import-{row.id}") as reader:
            chunks = Chunks(job.upload.file, row.header, self._check_on, dry_run=row.dry_run)
            try:
                await _within(reader, chunks.prepare)
                while chunk := await _within(reader, chunks.next):
                    fates = None
                    if row.dry_run:
                        new = [line.customer for line in chunk if line.customer is not None]
                        fates = await database.scan(importing.preview, new, row.header)
                    await self._write(
                        database, service.advance, row.id, done, chunk, job.who, fates
                    )
                    done += len(chunk)
                    await asyncio.sleep(importing.PAUSE_SECONDS)
            finally:
                await _within(reader, chunks.close)

    def _check_on(self) -> None:
        """Raise Stopped where the process ends."""
        if self._ending or self._stopping.begun:
            raise Stopped

    async def _write(self, database: Database, work: Callable[..., Any], *arguments: Any) -> Any:
        """Write, and try again where that is not possible for a moment."""
        for pause in RETRY_SECONDS:
            try:
                return await database.write(work, *arguments)
            except ServiceUnavailable:
                if self._ending or self._stopping.begun:
                    raise
                await self._stopping.sleep(pause)
        return await database.write(work, *arguments)

    async def _watch(self, database: Database) -> None:
        seen: dict[int, tuple[int, float]] = {}
        while not self._stopping.begun:
            await self._stopping.sleep(WATCH_SECONDS)
            try:
                seen = await interrupt_silent(database, seen)
                await prune_reports(database)
            except ServiceUnavailable as error:
                logger.warning("Imports can't be looked after at the moment: %s", error)


async def interrupt_silent(
    database: Database, seen: dict[int, tuple[int, float]]
) -> dict[int, tuple[int, float]]:
    """End the imports whose count has stood still for too long.

    Takes and returns, for each import that runs, its count and when it was first seen at that.
    """
    now, looked_at = time.monotonic(), {}
    for import_id, count in (await database.read(store.beats)).items():
        before, since = seen.get(import_id, (count, now))
        looked_at[import_id] = (count, since if before == count else now)
        if now - looked_at[import_id][1] >= SILENT_SECONDS:
            if await database.write(service.interrupt, import_id, count):
                logger.warning("Import %d was interrupted: its process has died.", import_id)
            del looked_at[import_id]
    return looked_at


async def prune_reports(database: Database) -> int:
    """Delete the reports that are no longer kept. Returns how many parts of them."""
    deleted, before = 0, clock.now() - import_reports.KEPT
    while await database.read(import_reports.is_any_older, before):
        deleted += await database.erase(import_reports.prune, before)
    return deleted


async def _beat(database: Database, import_id: int) -> None:
    is_running = True
    while is_running:
        await asyncio.sleep(BEAT_SECONDS)
        try:
            is_running = await database.write(store.beat, import_id)
        except ServiceUnavailable:
            continue  # the import itself meets it as well


async def _within(reader: ThreadPoolExecutor, work: Callable[[], Any]) -> Any:
    """Run in an import's own thread: what SQLite opens there is of use there alone."""
    return await asyncio.get_running_loop().run_in_executor(reader, work)


def _log_end(ended: Import) -> None:
    logger.info(
        "Import %d %s: %d of %d rows; %d created, %d updated, %d unchanged, %d refused%s.",
        *(ended.id, ended.state, ended.rows_read, ended.rows),
        *(ended.created, ended.updated, ended.unchanged, ended.refused),
        " (a dry run)" if ended.dry_run else "",
    )
