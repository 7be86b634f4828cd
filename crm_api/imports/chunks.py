"""A file's lines in chunks, each small enough for one transaction and for memory."""

import time
from collections.abc import Callable, Iterator, Sequence

from crm_api.transfer import table
from crm_api.transfer.repeats import Repeats
from crm_api.transfer.table import Line, Source

# A transaction of this many takes a few milliseconds, in which SQLite's event loop waits. A dry run
# only reads, and not in the loop.
ROWS_AT_ONCE = 50
FORESEEN_AT_ONCE = 250
CHARACTERS_AT_ONCE = 1 << 20
# Python's threads take turns of 5 ms: without pauses requests would wait that long again and again.
PAUSE_SECONDS = 0.005


class Chunks:
    """Reads a file in a thread: first all of it for what is there twice, then chunk by chunk.

    `check_on` is called again and again, and raises where the work must end.
    """

    def __init__(
        self, source: Source, header: Sequence[str], check_on: Callable[[], None], *, dry_run: bool
    ) -> None:
        self._source = source
        self._most = FORESEEN_AT_ONCE if dry_run else ROWS_AT_ONCE
        self._header = header
        self._check_on = check_on
        self._repeats: Repeats | None = None
        self._lines: Iterator[Line] = iter(())

    def prepare(self) -> None:
        """Read the file once for references and addresses that are there twice."""
        self._repeats = Repeats(self._header)
        self._repeats.read(self._source, self._rest)
        self._lines = map(self._repeats.refuse, table.lines(self._source, self._header))

    def next(self) -> list[Line]:
        """Read some lines; none at the end."""
        self._check_on()
        chunk: list[Line] = []
        characters = 0
        for line in self._lines:
            chunk.append(line)
            characters += sum(map(len, line.cells))
            if len(chunk) == self._most or characters >= CHARACTERS_AT_ONCE:
                break
        return chunk

    def close(self) -> None:
        self._lines = iter(())  # closes the file that it reads
        if self._repeats is not None:
            self._repeats.close()

    def _rest(self, _rows: int) -> None:
        self._check_on()
        time.sleep(PAUSE_SECONDS)
