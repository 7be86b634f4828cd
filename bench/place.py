"""Where a run of the bench happens: a folder, a PostgreSQL server, and how much time there is."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.databases import fill, new_database
from bench.processes import Server, base, service
from bench.report import Comparison

TOKEN = "admin123"  # noqa: S105 (a demo token)
BASE_TOKEN = "agent123"  # noqa: S105


@dataclass
class Place:
    """What all parts need."""

    folder: Path
    postgres: str
    quick: bool
    stack: ExitStack
    _crms: dict[tuple[str, int], Server] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        return 2 if self.quick else 4

    @property
    def seconds(self) -> float:
        return 0.6 if self.quick else 1.5

    def database(self, engine: str, of: str | None = None) -> str:
        return new_database(engine, self.folder, self.postgres, of)

    def crm(self, engine: str, rows: int) -> Server:
        """Give a CRM with so many customers; one for all parts."""
        if (engine, rows) not in self._crms:
            url = self.database(engine, "crm_api")
            fill(url, rows)
            running = service("crm_api", self.folder, url)
            self._crms[engine, rows] = self.stack.enter_context(running)
        return self._crms[engine, rows]

    def base(self, name: str, ready: str = "/health", **environment: str) -> Server:
        return self.stack.enter_context(base(name, self.folder, ready, **environment))


Part = Callable[[Place], Iterator[Comparison]]
Parts = Mapping[str, Part]
