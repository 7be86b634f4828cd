"""What a migration says of the release before is true: its code runs on the schema.

The older code starts there, does the work of the platform, and writes, reads, changes and deletes
rows of every table that it knows. In the second half a migration says so falsely, which is found.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from service_kit.database.migrations import Migrations
from tests.conftest import ROOT, SERVICES, NewDatabase
from tests.sweeps import ENGINES, sample
from tests.system.processes import Nursery, bare_environment
from tests.system.stack import Stack
from tests.upgrades.code import NoHistory, add_migration, code_before

pytestmark = pytest.mark.slow

# Which faults a walk through a service's tables finds, on which schema.
Faults = Callable[[Nursery, str, str], list[str]]


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    def find(nursery: Nursery, service: str, url: str) -> list[str]:
        log = tmp_path / f"{service}-walk.log"
        command = ["tests.upgrades.walk", service, url]
        code = nursery.start(command, bare_environment(), tmp_path, log, log).wait(60)
        return log.read_text().splitlines()[-5:] if code else []

    return find


def older_code(migration: Path, folder: Path) -> Path:
    try:
        return code_before(migration, folder)
    except NoHistory as reason:
        pytest.skip(f"the whole history is needed: {reason}")


@pytest.fixture(scope="module")
def older(
    nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Nursery]]:
    """Give, for each service, what starts the oldest release that is to run on today's schema."""
    with ExitStack() as exits:
        found = dict.fromkeys(SERVICES, nursery)
        for name, service in SERVICES.items():
            migrations = service.migrations()
            newer = [one for one in migrations.revisions if one > migrations.compatible_with]
            if newer:
                [first] = migrations.folder.glob(f"{newer[0]}_*.py")
                code = older_code(first, tmp_path_factory.mktemp(f"{name}-older"))
                found[name] = exits.enter_context(Nursery(code))
        yield found


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("engine", ENGINES, indirect=True)
def test_the_oldest_release_that_may_runs_on_the_schema_of_today(
    stack: Stack, older: dict[str, Nursery], faults: Faults
) -> None:
    for server in stack.servers:
        server.nursery = older[server.service]
    stack.start()
    stack.add_customers(2)
    stack.wait_until_quiet()
    stack.check()
    for server in stack.servers:
        server.end()

    found = {
        server.service: faults(older[server.service], server.service, server.database_url)
        for server in stack.servers
    }

    assert found == {service: [] for service in SERVICES}


def test_older_code_is_had_from_the_history(tmp_path: Path) -> None:
    folder = Path("crm_api/migrations")
    [newer] = (ROOT / folder).glob("0013_*.py")

    code = older_code(newer, tmp_path)

    assert max(path.name for path in (code / folder).glob("0*.py"))[:4] == "0012"
    assert (code / "service_kit" / "__init__.py").exists()


NEW_TABLE = """
op.create_table(
    "shelves",
    sa.Column("id", BigInt, primary_key=True),
    sa.Column("item_id", BigInt, sa.ForeignKey("items.id")),
)
op.add_column("items", sa.Column("shelf", sa.String(20), nullable=False, server_default="A"))
op.create_index("ix_items_shelf", "items", ["shelf"])
"""
REFUSES = "CREATE TRIGGER no BEFORE DELETE ON tickets BEGIN SELECT RAISE(ABORT, 'no'); END"
# By which migration the release before is broken, on which engines one can be.
BOTH = ("sqlite", "postgresql")
BREAKING = {
    "a column is gone": (BOTH, "inventory_api", 'op.drop_column("movements", "reason")'),
    "a table has another name": (BOTH, "crm_api", 'op.rename_table("notes", "comments")'),
    "a column has another name": (
        BOTH,
        "integration_service",
        'op.execute("ALTER TABLE deliveries RENAME COLUMN problem TO refusal")',
    ),
    "a trigger refuses": (
        ("sqlite",),
        "crm_api",
        f"op.execute({REFUSES!r})",
    ),
    "what may be empty must not": (
        ("postgresql",),
        "crm_api",
        'op.alter_column("tickets", "assignee", nullable=False)',
    ),
    "a new column has no default": (
        ("postgresql",),
        "inventory_api",
        'op.add_column("package_requests", sa.Column("carrier", sa.String(50), nullable=False))',
    ),
    "a text must be shorter": (
        ("postgresql",),
        "crm_api",
        'op.alter_column("customers", "company", type_=sa.String(199))',
    ),
    "a number is a text": (
        ("postgresql",),
        "integration_service",
        'op.execute("ALTER TABLE deliveries ALTER COLUMN sequence TYPE text")',
    ),
}


def declared(service: str, statements: str, url: str, folder: Path) -> None:
    """Run a migration more, which says that today's release can run on what it makes."""
    migrations = SERVICES[service].migrations()
    newer = folder / "newer"
    shutil.copytree(migrations.folder, newer)
    add_migration(newer, migrations.head, statements)
    Migrations(service, newer).upgrade(url)


def test_an_additive_migration_says_so_truly(
    nursery: Nursery, new_database: NewDatabase, faults: Faults, tmp_path: Path
) -> None:
    url = new_database("inventory_api")
    declared("inventory_api", NEW_TABLE, url, tmp_path)

    assert faults(nursery, "inventory_api", url) == []


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("engine", "what"),
    sample([(engine, what) for what, one in BREAKING.items() for engine in one[0]], every=3),
    indirect=["engine"],
)
def test_a_false_declaration_is_found(
    what: str, nursery: Nursery, new_database: NewDatabase, faults: Faults, tmp_path: Path
) -> None:
    _, service, statements = BREAKING[what]
    url = new_database(service)
    assert faults(nursery, service, url) == [], "it is the migration that breaks it"

    declared(service, statements, url, tmp_path)

    assert faults(nursery, service, url)
