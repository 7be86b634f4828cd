"""Databases as a release has left them, with rows that it has written itself (`fill.py`)."""

import re
import uuid
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from tests.conftest import SERVICES, NewDatabase, drop_database, run_sql, with_database
from tests.copies.rows import change
from tests.crm_api.conftest import change_from_outside
from tests.service_kit.test_migrations import migrate_to
from tests.system.processes import Nursery
from tests.system.stack import Stack
from tests.upgrades.code import ADDITIVE, next_release

RELEASES = Path(__file__).with_name("releases")
# The newest migration of each service in 0.3.0.
NEWEST = {"crm_api": "0007", "inventory_api": "0002", "integration_service": "0007"}
_TABLE = re.compile(r"^INSERT INTO (\w+) \((\w+)", re.MULTILINE)

EmptyDatabase = Callable[[str], str]


@pytest.fixture(scope="session")
def next_nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Starts services of the next release."""
    with Nursery(next_release(tmp_path_factory.mktemp("next"), ADDITIVE)) as nursery:
        yield nursery


@pytest.fixture
def stack(nursery: Nursery, new_database: NewDatabase, tmp_path: Path) -> Iterator[Stack]:
    """Three services on the test's engine, wired to each other and not yet started."""
    with Stack(tmp_path, nursery, new_database) as stack:
        yield stack


@pytest.fixture
def without_tables(
    engine: str, request: pytest.FixtureRequest, database_folder: Path
) -> Iterator[EmptyDatabase]:
    """Give the URL of a new database with nothing in it, on the test's engine."""
    made: list[str] = []

    def new(service: str) -> str:
        made.append(f"{service}_{uuid.uuid4().hex[:8]}")
        if engine == "sqlite":
            return f"sqlite:///{database_folder}/{made[-1]}.db"
        server: str = request.getfixturevalue("postgres_server")
        run_sql(server, f'CREATE DATABASE "{made[-1]}"')
        return with_database(server, made[-1])

    yield new
    for name in made:
        if engine == "postgresql":
            drop_database(request.getfixturevalue("postgres_server"), name)
        for left in database_folder.glob(f"{name}.db*"):
            left.unlink(missing_ok=True)


@pytest.fixture
def of_0_3_0(without_tables: EmptyDatabase, tmp_path: Path) -> dict[str, str]:
    """Give each service's database as 0.3.0 has left it; its URL by the service's name."""
    databases = {}
    for service, newest in NEWEST.items():
        url = databases[service] = without_tables(service)
        migrate_to(newest, service, url, tmp_path / f"{service}-0.3.0")
        # 0.4.0 has recorded itself, which 0.3.0 did not.
        inserts = (RELEASES / "0.3.0" / f"{service}.sql").read_text()
        change_from_outside(url, "DROP TABLE schema_release", *load(url, inserts))
        rebuild = import_module(f"{service}.copies").CONTENTS.rebuild
        change(SERVICES[service].migrations(), url, rebuild)
    return databases


def load(url: str, inserts: str) -> Iterator[str]:
    """Give the statements that put a release's rows into its schema, on either engine."""
    keys = dict(_TABLE.findall(inserts))
    # In place of what the migrations have written.
    yield from (f"DELETE FROM {table}" for table in reversed(keys))  # noqa: S608
    if url.startswith("sqlite:"):
        yield inserts
        return
    yield "SET TIME ZONE 'UTC'"
    yield re.sub(r"X'([0-9a-f]+)'", r"'\\x\1'", inserts)
    for table, key in keys.items():
        if key == "id":
            highest = f"(SELECT max(id) FROM {table})"  # noqa: S608
            yield f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {highest})"
