"""Time and identity: aware UTC instants and time-ordered ids."""

import os
import time
from datetime import UTC, datetime

_LATEST = int(datetime.max.replace(microsecond=0, tzinfo=UTC).timestamp())


def now() -> datetime:
    return datetime.now(UTC)


def from_epoch(seconds: int) -> datetime:
    """Return the instant so many seconds after 1970, or the calendar's last."""
    return datetime.fromtimestamp(min(seconds, _LATEST), UTC)


def rfc3339(instant: datetime) -> str:
    """Write an instant as the contract does: UTC, with a final Z."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def new_id() -> str:
    """Make a UUID version 7 (RFC 9562): random, and later ones sort after earlier ones."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
