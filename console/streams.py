"""Streams to browsers: how many a session may have, and when all of them end."""

from collections import Counter

from service_kit.process.stopping import Stopping

# Of a session: a browser has six connections to a host, and needs some for pages.
MOST_OF_SESSION = 4
MOST_IN_ALL = 200


class Streams:
    """Counts what is open; a stream holds a connection for as long as its page is looked at."""

    def __init__(self, stopping: Stopping) -> None:
        self.stopping = stopping
        self._of: Counter[bytes] = Counter()

    def take(self, session: bytes) -> bool:
        """Count a stream of a session. Returns False where there are too many."""
        if self._of[session] >= MOST_OF_SESSION or self._of.total() >= MOST_IN_ALL:
            return False
        self._of[session] += 1
        return True

    def give_back(self, session: bytes) -> None:
        self._of[session] -= 1
        if not self._of[session]:
            del self._of[session]
