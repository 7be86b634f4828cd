"""Who polls: one process for a database. The others stand by, and a zombie can do no harm."""

import fcntl
import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, func, select, update

from integration_service.ledger.models import poller
from service_kit.database import DatabaseUnavailable
from service_kit.database.prepared import PreparedValues
from service_kit.process import clock

# How the loops ask for the time, so that a test can answer.
Clock = Callable[[], datetime]

_ROW = select(poller.c.lease_epoch, poller.c.lease_until, poller.c.lease_seconds).with_for_update()
_EPOCH = PreparedValues[int](select(poller.c.lease_epoch).with_for_update())


class LeaseLost(Exception):
    """Another poller has taken over; whatever this one was about to write is void."""

    def __str__(self) -> str:
        return "Another poller has taken over; this one stands by."


class LeaseExpired(LeaseLost):
    """It could not be renewed in time, so another poller may take over at any moment."""

    def __str__(self) -> str:
        return "This poller gives up its lease, which has run out while the database was away."


@dataclass(frozen=True, slots=True)
class Lease:
    holder: str
    epoch: int


def holder_name() -> str:
    """Name this process, for operators who want to know which one polls."""
    return f"{socket.gethostname()[:100]}/{os.getpid()}/{uuid.uuid4().hex[:8]}"


def take(db: Connection, holder: str, seconds: float, *, is_alone: bool) -> Lease | None:
    """Become the poller, or return None while another's lease runs.

    `is_alone` says that no other process can be at work on this database, so that after a crash
    nobody has to wait for the lease of the dead.
    """
    epoch, until, length = db.execute(_ROW).one()
    now = now_of(db)
    if not is_alone and until is not None and until > now:
        # One that ends later than that is by a clock that was set back since; its holder, if it
        # lives, renews it long before this end.
        longest = now + timedelta(seconds=length or seconds)
        if until > longest:
            db.execute(update(poller).values(lease_until=longest))
        return None
    lease = Lease(holder, epoch + 1)
    _write(db, lease, now, seconds)
    return lease


def hold(db: Connection) -> None:
    """Keep others from claiming, settling and erasing until this transaction ends.

    Whoever changes deliveries in another way locks this one row first, and so sees all that was
    committed before.
    """
    _epoch(db)


def fence(db: Connection, lease: Lease) -> None:
    """Let a transaction go on only while its poller's lease is the newest. Raises LeaseLost."""
    if _epoch(db) != lease.epoch:
        raise LeaseLost


def renew(db: Connection, lease: Lease, seconds: float) -> None:
    fence(db, lease)
    _write(db, lease, now_of(db), seconds)


def release(db: Connection, lease: Lease) -> None:
    """Let the next poller begin at once. Does nothing where it already has."""
    if _epoch(db) == lease.epoch:
        nobody = {"lease_holder": None, "lease_until": None, "lease_seconds": None}
        db.execute(update(poller).values(**nobody))


class FileLock:
    """A lock on a file beside a SQLite database, which the system frees when its process dies."""

    def __init__(self, url: str) -> None:
        is_file = url.startswith("sqlite:///")
        self._path = Path(url.removeprefix("sqlite:///") + ".poller") if is_file else None
        self._file: IO[str] | None = None

    def acquire(self) -> bool:
        """Return whether this process has it; never for a database that has no file."""
        if self._path is None:
            return False
        if self._file is not None:
            return True
        try:
            file = self._path.open("w")
        except OSError as error:
            raise DatabaseUnavailable(
                f"{self._path} can't be written: {error.strerror}."
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self._file = file
        return True

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _epoch(db: Connection) -> int:
    [epoch] = _EPOCH.all(db)
    return epoch


def _write(db: Connection, lease: Lease, now: datetime, seconds: float) -> None:
    db.execute(
        update(poller).values(
            lease_holder=lease.holder,
            lease_epoch=lease.epoch,
            lease_until=now + timedelta(seconds=seconds),
            lease_seconds=seconds,
        )
    )


def now_of(db: Connection) -> datetime:
    """Ask the one clock that all replicas share, where they may be on several machines."""
    if db.dialect.name == "postgresql":
        now: datetime = db.execute(select(func.clock_timestamp())).scalar_one()
        return now
    return clock.now()
