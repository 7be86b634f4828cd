"""A position in the feed, as callers keep it: opaque, and tied to its database."""

import base64
import binascii
import struct
from dataclasses import dataclass
from typing import Self

# The epoch, the position, and the end of the id of the event that stands there.
_LAYOUT = struct.Struct(">8sQ8s")
_AT_THE_START = bytes(8)


class MalformedCursor(ValueError):
    """Text that is not a cursor of any feed."""


@dataclass(frozen=True, slots=True)
class FeedCursor:
    epoch: str
    position: int
    event_mark: bytes

    @classmethod
    def at(cls, epoch: str, position: int, event_id: str | None) -> Self:
        """Make the cursor after this event; `event_id` is None at the very start."""
        mark = bytes.fromhex(event_id.replace("-", ""))[-8:] if event_id else _AT_THE_START
        return cls(epoch, position, mark)

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read a cursor back. Raises MalformedCursor."""
        try:
            packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            epoch, position, mark = _LAYOUT.unpack(packed)
        except (binascii.Error, ValueError, struct.error):
            raise MalformedCursor from None
        cursor = cls(epoch.hex(), position, mark)
        # The decoder passes over letters outside its alphabet; a cursor has one spelling.
        if position >> 63 or cursor.encode() != text.rstrip("="):
            raise MalformedCursor
        return cursor

    def encode(self) -> str:
        packed = _LAYOUT.pack(bytes.fromhex(self.epoch), self.position, self.event_mark)
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")

    def marks(self, event_id: str) -> bool:
        return FeedCursor.at(self.epoch, self.position, event_id).event_mark == self.event_mark
