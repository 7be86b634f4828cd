"""What stands in the integration's place: it reads the CRM and asks Inventory for packages.

It writes down how far it is, and goes on from there after a crash. All of it is of
requirements/bench.txt, and left out where it is not installed. DBOS and procrastinate are measured
with a page as one workflow or job, and with each customer as one.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from bench.databases import run_sql
from bench.place import Place
from bench.processes import Server


@dataclass(frozen=True, slots=True)
class Peer:
    """One of `bench.bases`, how it is run, and the kind of its state: an engine, or a folder."""

    name: str
    package: str
    base: str
    kind: str
    mode: str = ""

    def new_state(self, place: Place) -> str:
        """Make a folder, or a database with the tables that the peer does not make itself."""
        if self.kind == "folder":
            return tempfile.mkdtemp(dir=place.folder)
        url = place.database(self.kind)
        if self.package == "procrastinate":
            from procrastinate.schema import SchemaManager

            run_sql(url, SchemaManager.get_schema())
        return url

    def command(
        self, crm: Server, state: str, inventory: Server, number: int | None = None
    ) -> list[str]:
        """Give the command that runs until it is ended, or so many customers are through."""
        given = [crm.url, inventory.url, state]
        if self.mode:
            given += [self.mode, *([str(number)] if number is not None else [])]
        return [sys.executable, "-m", f"bench.bases.{self.base}", *given]


DBOS_PAGES = Peer("DBOS, a workflow a page", "dbos", "dbos_feed", "sqlite", "page")
PEERS = (
    DBOS_PAGES,
    Peer("DBOS, a workflow a customer", "dbos", "dbos_feed", "sqlite", "customer"),
    Peer(
        "procrastinate, a job a page", "procrastinate", "procrastinate_feed", "postgresql", "page"
    ),
    Peer(
        "procrastinate, a job a customer",
        "procrastinate",
        "procrastinate_feed",
        "postgresql",
        "customer",
    ),
    # It ends when it has sent all that there are.
    Peer("dlt, in batches", "dlt", "dlt_pipeline", "folder"),
)


def installed() -> Sequence[Peer]:
    """List those that are there, and print what is not."""
    packages = dict.fromkeys(peer.package for peer in PEERS)
    there = [package for package in packages if is_installed(package)]
    return [peer for peer in PEERS if peer.package in there]


def is_installed(package: str) -> bool:
    """Tell whether a package is there, and print where it is to be had where it is not."""
    is_there = find_spec(package) is not None
    if not is_there:
        print(f"{package} is left out: requirements/bench.txt has it.")
    return is_there
