"""The rows of a file that were refused, each with why: a table to correct and to import again."""

import csv
from collections.abc import Sequence
from typing import TextIO

from crm_api.transfer.table import REPORTED, Fault, Line


class Report:
    """Writes to a file, or nowhere."""

    def __init__(self, file: TextIO | None, header: Sequence[str]) -> None:
        # A report on a report has those two columns once.
        self._places = [place for place, name in enumerate(header) if name not in REPORTED]
        self._width = len(header)
        self._rows = None if file is None else csv.writer(file, lineterminator="\n")
        if self._rows is not None:
            self._rows.writerow([*(header[place] for place in self._places), *REPORTED])

    def add(self, line: Line, faults: Sequence[Fault]) -> None:
        """Write the cells as they were read. Those beyond the header's come last."""
        if self._rows is None:
            return
        cells = [*line.cells, *[""] * (self._width - len(line.cells))]
        reason = "; ".join(f"{fault.field}: {fault.reason}" for fault in faults)
        kept = [cells[place] for place in self._places]
        self._rows.writerow([*kept, line.number, reason, *cells[self._width :]])
