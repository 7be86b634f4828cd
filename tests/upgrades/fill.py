"""Makes the rows of a release, by that release: `python -m tests.upgrades.fill CODE FOLDER`.

CODE is a copy of the release's code; for 0.3.0, the last commit before the version became 0.4.0:

    git archive 055b47c | tar x -C CODE

It starts the three services of that code on SQLite and leads them, over HTTP, to something in every
table and to deliveries in every state. Then it writes a file of INSERT statements for each service,
which both engines take. All happened on one day of January 2026, whenever it is made.
"""

import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import bearer
from tests.system.processes import bare_environment, until
from tests.system.stack import Port

SERVICES = ("crm_api", "inventory_api", "integration_service")
DAY = "2026-01-05"
PATIENCE = 120.0
# What migrations or the kit itself fill, and the search, which is made from the rows.
DERIVED = re.compile("alembic_version|schema_owner|sqlite_|customer_search|ticket_search")


class Service:
    """One service of the release."""

    def __init__(self, name: str, code: Path, folder: Path) -> None:
        self.name = name
        self.path = folder / f"{name}.db"
        self.environment: dict[str, str] = {"SEED_DEMO_DATA": "false"}
        self._code = code
        self._log = folder / f"{name}.log"
        self._port = Port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port.number}"

    def run(self, *arguments: str) -> subprocess.Popen[bytes]:
        own = {"DATABASE_URL": f"sqlite:///{self.path}", "PORT": str(self._port.number)}
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", self.name, *arguments],
                cwd=self._code,
                env=bare_environment() | own | self.environment,
                stdout=log,
                stderr=log,
            )

    def start(self) -> None:
        self._process = self.run("serve")
        until(self._is_ready, f"{self.name} is ready", seconds=PATIENCE)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            assert self._process.wait(20) == 0, self._log.read_text()
            self._process = None

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
        self._port.close()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = httpx.request(
            method, f"{self.url}{path}", json=body, headers=bearer("admin123") | headers
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as database:
            return database.execute(statement).fetchall()

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready").status_code == 200
        except httpx.TransportError:
            return False


class Filling:
    """Leads the release through what its users do."""

    def __init__(self, code: Path, folder: Path) -> None:
        self.folder = folder
        self.crm, self.inventory, self.integration = self.services = [
            Service(name, code, folder) for name in SERVICES
        ]
        self.integration.environment.update(
            CRM_API_URL=self.crm.url,
            INVENTORY_API_URL=self.inventory.url,
            LONG_POLL_SECONDS="1",
            RECONCILE_INTERVAL_SECONDS="0",
        )
        self._numbers = iter(range(1, 1000))

    def run(self) -> None:
        self.crm.start()
        self.inventory.start()
        self.stock()
        self.deliver_and_refuse()
        self.tickets()
        self.packages()
        self.compare()
        self.leave_unfinished()

    def customer(self, **more: Any) -> Any:
        n = next(self._numbers)
        new = {"name": f"Customer {n}", "email": f"customer-{n}@example.com", **more}
        return self.crm.ask("POST", "/api/customers", new, **{"Idempotency-Key": f"customer-{n}"})

    def stock(self) -> None:
        for sku, tracked in (("MUG", True), ("CARD", False)):
            item = {"sku": sku, "name": sku.title(), "tracked": tracked, "reorder_level": 2}
            self.inventory.ask("POST", "/items", item, **{"Idempotency-Key": sku})
        self.inventory.ask("POST", "/items/MUG/movements", {"quantity": 13, "reason": "delivery"})
        lines = [{"sku": "MUG", "quantity": 1}, {"sku": "CARD", "quantity": 2}]
        self.inventory.ask("PUT", "/kits/welcome_package", {"lines": lines})
        lines[0]["quantity"] = 2
        self.inventory.ask("PUT", "/kits/welcome_package", {"lines": lines})

    def deliver_and_refuse(self) -> None:
        """Delivered, skipped, dead and dismissed; and an erasure that is done."""
        full = {"company": "Ärzte & Söhne", "phone": "+49 30 1234", "metadata": {"tier": "gold"}}
        known = self.customer(**full, external_ref="shop-1")
        self.crm.ask("PATCH", f"/api/customers/{known['id']}", {"company": "Doe's"})
        refused = [self.customer() for _ in range(2)]
        for one in refused:  # Inventory has another request for them, and refuses the second
            self.inventory.ask(
                "POST", "/package-requests", {"customer_id": one["uid"], "note": "by hand"}
            )
        delivered = [self.customer() for _ in range(7)]
        unwanted = self.folder / "unwanted.csv"
        unwanted.write_text("name,email\nPaper Form,paper@example.com\n")
        taken = self.crm.run("import-customers", str(unwanted), "--no-welcome")
        assert taken.wait(60) == 0
        self.integration.start()
        self.wait_for("dead", 2)
        self.wait_for("delivered", 8)
        dismissed = f"/deliveries/{refused[1]['uid']}/dismiss"
        self.integration.ask("POST", dismissed, {"reason": "sent by hand"})
        self.crm.ask("DELETE", f"/api/customers/{delivered[-1]['id']}")
        until(
            lambda: self.integration.rows("SELECT 1 FROM erasures WHERE done_at IS NOT NULL"),
            "an erasure is applied",
        )

    def tickets(self) -> None:
        new = {"customer_id": 1, "subject": "It's broken", "description": "The box came open."}
        first, second = (
            self.crm.ask("POST", "/api/tickets", {**new, "tags": ["parcel"], "priority": priority})
            for priority in ("high", "low")
        )
        note = {"body": "We send another.", "visibility": "public", "author_kind": "agent"}
        self.crm.ask("POST", f"/api/tickets/{first['id']}/notes", note)
        for status in ("in_progress", "resolved", "closed"):
            self.crm.ask("PATCH", f"/api/tickets/{first['id']}", {"status": status})
        self.crm.ask("PATCH", f"/api/tickets/{second['id']}", {"assignee": "maria"})
        self.crm.ask("POST", "/api/tickets", {**new, "follow_up_of": first["id"]})
        for name in ("shop", "shop", "till"):
            self.crm.ask("POST", "/api/tokens", {"name": name, "role": "agent"})
        self.crm.ask("DELETE", "/api/tokens/3")

    def packages(self) -> None:
        """One in each status; for the last of them there are no mugs."""
        waiting = self.inventory.ask("GET", "/package-requests?status=pending")
        ways = (
            ("pack",),
            ("pack", "ship"),
            ("pack", "ship", "deliver"),
            ("cancel",),
            ("pack", "ship", "return"),
        )
        for package, way in zip(waiting, ways, strict=False):
            for move in way:
                self.inventory.ask("POST", f"/package-requests/{package['request_id']}/{move}")

    def compare(self) -> None:
        self.integration.ask("POST", "/reconcile", {"repair": False})
        until(
            lambda: self.integration.rows("SELECT 1 FROM reconciliations WHERE state = 'finished'"),
            "a comparison is done",
        )

    def leave_unfinished(self) -> None:
        """Retrying, pending, an erasure that waits, and what the feed has told nobody yet."""
        self.inventory.stop()
        self.customer()
        self.wait_for("retrying", 1)
        self.crm.ask("DELETE", "/api/customers/5")
        self.customer()
        self.wait_for("pending", 1)
        until(
            lambda: self.integration.rows("SELECT 1 FROM erasures WHERE done_at IS NULL"),
            "an erasure waits",
        )
        self.integration.stop()
        self.customer()
        self.crm.stop()

    def wait_for(self, state: str, number: int) -> None:
        count = f"SELECT count(*) FROM deliveries WHERE state = '{state}'"  # noqa: S608
        until(
            lambda: self.integration.rows(count) == [(number,)],
            f"{number} are {state}",
            seconds=PATIENCE,
        )

    def close(self) -> None:
        for service in self.services:
            service.close()


def statements(path: Path) -> Iterator[str]:
    """Give the INSERT statements of a database, table by table as they were made."""
    with closing(sqlite3.connect(path)) as database:
        query = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rootpage"
        for (table,) in database.execute(query).fetchall():
            if DERIVED.match(table):
                continue
            columns = database.execute(f"PRAGMA table_info({table})").fetchall()
            kinds = {name: kind for _, name, kind, *_ in columns}
            for row in database.execute(f"SELECT * FROM {table}"):  # noqa: S608
                values = [
                    literal(kind, value) for kind, value in zip(kinds.values(), row, strict=True)
                ]
                yield f"INSERT INTO {table} ({', '.join(kinds)}) VALUES ({', '.join(values)});"  # noqa: S608


def literal(kind: str, value: Any) -> str:
    """Write a value as both engines read it; bytes alone as SQLite does."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if kind == "BOOLEAN":
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


def main() -> None:
    code, folder = (Path(argument).absolute() for argument in sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    filling = Filling(code, folder)
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    with closing(filling):
        filling.run()
    for service in filling.services:
        text = "\n".join(statements(service.path)).replace(today, DAY)
        (folder / f"{service.name}.sql").write_text(f"{text}\n")


if __name__ == "__main__":
    main()
