"""Schemas: made once however many begin at once, never gone back on, and equal to the models."""

import ast
import asyncio
import itertools
import re
import shutil
import sqlite3
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect

from service_kit.database import DatabaseUnavailable, open_database
from service_kit.database.errors import reason
from service_kit.database.migrations import Migrations, SchemaMismatch, current_revision
from service_kit.database.postgres import connect
from tests.conftest import ROOT, SERVICES, NewDatabase, run_sql, with_database
from tests.system.processes import Child, Nursery, bare_environment

T = TypeVar("T")

# Whose database it is, and of which release, stands in tables that belong to no service; the CRM's
# search has tables of another kind on each engine, and on SQLite those are FTS5's.
OTHERS = re.compile("schema_(owner|release)$|(customer|ticket)_search")

# One module of each service that holds its `metadata`; its other models are found beside it.
MODELS = {
    "crm_api": "crm_api.tables",
    "inventory_api": "inventory_api.tables",
    "integration_service": "integration_service.tables",
}


def change(url: str, statement: str) -> None:
    if url.startswith("sqlite:"):
        connection = sqlite3.connect(Path(url.removeprefix("sqlite:///")))
        connection.execute(statement)
        connection.commit()
        connection.close()
    else:
        run_sql(url, statement)


def look(url: str, work: Callable[[Connection], T]) -> T:
    async def run() -> T:
        database = open_database(url, pool_size=2)
        await database.open()
        try:
            return await database.write(work)
        finally:
            await database.close()

    return asyncio.run(run())


class Migrating(NamedTuple):
    """`python -m crm_api migrate`, in a process of its own."""

    process: Child
    log: Path

    def ended(self) -> tuple[int, str]:
        """Wait for its end. Returns its exit code and what it said."""
        return self.process.wait(30), self.log.read_text()


StartMigrate = Callable[[str], Migrating]


@pytest.fixture
def start_migrate(nursery: Nursery, tmp_path: Path) -> StartMigrate:
    numbers = itertools.count()

    def start(url: str) -> Migrating:
        log = tmp_path / f"migrate-{next(numbers)}.log"
        environment = {**bare_environment(), "DATABASE_URL": url}
        command = ["crm_api", "migrate"]
        return Migrating(nursery.start(command, environment, tmp_path, log, log), log)

    return start


@pytest.mark.slow
def test_processes_that_begin_at_once_make_one_schema(
    empty_database: str, start_migrate: StartMigrate
) -> None:
    processes = [start_migrate(empty_database) for _ in range(3)]
    codes, told = zip(*(process.ended() for process in processes), strict=True)

    assert codes == (0, 0, 0), told
    assert sum("Migrated the database from nothing" in text for text in told) == 1
    heads = look(empty_database, lambda db: db.exec_driver_sql("SELECT * FROM feed_head").all())
    assert len(heads) == 1
    assert look(empty_database, current_revision) == SERVICES["crm_api"].migrations().head


def test_a_schema_that_is_up_to_date_is_left_alone(new_database: NewDatabase) -> None:
    migrations = SERVICES["crm_api"].migrations()
    url = new_database("crm_api")

    assert migrations.upgrade(url) == migrations.head
    assert migrations.upgrade(url) == migrations.head


@pytest.mark.slow
def test_a_schema_that_is_ahead_is_refused_in_words(
    new_database: NewDatabase, start_migrate: StartMigrate
) -> None:
    url = new_database("crm_api")
    change(url, "UPDATE alembic_version SET version_num = '9999'")

    code, told = start_migrate(url).ended()
    [line] = told.splitlines()

    assert code == 2
    assert line.startswith("crm_api: the database can't be used: The schema is at 9999")
    with pytest.raises(SchemaMismatch):
        SERVICES["crm_api"].migrations().upgrade(url)


@pytest.mark.slow
def test_another_services_database_is_refused_in_words(
    new_database: NewDatabase, start_migrate: StartMigrate
) -> None:
    url = new_database("inventory_api")

    code, told = start_migrate(url).ended()
    change(url, "DROP TABLE schema_owner")  # as a database from before there were owners

    assert code == 2
    assert told == (
        "crm_api: the database can't be used: It holds the tables of inventory_api. Give each "
        "service a database of its own: DATABASE_URL of crm_api must name another.\n"
    )
    with pytest.raises(SchemaMismatch, match="holds the tables of another service"):
        SERVICES["crm_api"].migrations().upgrade(url)
    SERVICES["inventory_api"].migrations().upgrade(url)
    with pytest.raises(SchemaMismatch, match="holds the tables of inventory_api"):
        SERVICES["crm_api"].migrations().upgrade(url)


def write_migration(folder: Path, revision: str, down: str | None, *statements: str) -> None:
    runs = "\n".join(f"    op.execute({statement!r})" for statement in statements)
    (folder / f"{revision}_test.py").write_text(
        f"from alembic import op\nrevision = {revision!r}\ndown_revision = {down!r}\n"
        f"def upgrade() -> None:\n{runs}\n"
    )


def test_migrations_run_in_order_and_each_of_them_once(empty_database: str, tmp_path: Path) -> None:
    write_migration(tmp_path, "0001", None, "CREATE TABLE steps (number INTEGER NOT NULL)")
    write_migration(tmp_path, "0002", "0001", "INSERT INTO steps VALUES (2)")
    assert Migrations("boxes", tmp_path).upgrade(empty_database) is None
    write_migration(tmp_path, "0003", "0002", "INSERT INTO steps VALUES (3)")
    write_migration(tmp_path, "0004", "0003", "INSERT INTO steps VALUES (4)")
    assert Migrations("boxes", tmp_path).upgrade(empty_database) == "0002"
    assert Migrations("boxes", tmp_path).upgrade(empty_database) == "0004"

    steps = look(empty_database, lambda db: db.exec_driver_sql("SELECT * FROM steps").all())
    assert [tuple(step) for step in steps] == [(2,), (3,), (4,)]


def test_a_database_from_before_owners_is_known_by_its_first_table(
    empty_database: str, tmp_path: Path
) -> None:
    for revision, down, table in (("0001", None, "boxes"), ("0002", "0001", "lids")):
        (tmp_path / f"{revision}_test.py").write_text(
            f"from alembic import op\nfrom sqlalchemy import Column, Integer\n"
            f"revision = {revision!r}\ndown_revision = {down!r}\n"
            f'def upgrade() -> None:\n    op.create_table("{table}", Column("id", Integer))\n'
        )
        Migrations("boxes", tmp_path).upgrade(empty_database)
        change(empty_database, "DROP TABLE schema_owner")

    with pytest.raises(SchemaMismatch, match="holds the tables of another service"):
        SERVICES["crm_api"].migrations().upgrade(empty_database)


@pytest.mark.engine("postgresql")
def test_a_statement_of_a_migration_may_take_long(
    empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connect.SESSION, "statement_timeout", "50")  # milliseconds
    write_migration(tmp_path, "0001", None, "SELECT pg_sleep(0.2)")

    Migrations("boxes", tmp_path).upgrade(empty_database)


def test_migrations_that_fail_leave_the_schema_as_it_was(
    empty_database: str, tmp_path: Path
) -> None:
    write_migration(tmp_path, "0001", None, "CREATE TABLE steps (number INTEGER NOT NULL)")
    Migrations("boxes", tmp_path).upgrade(empty_database)
    write_migration(tmp_path, "0002", "0001", "CREATE TABLE more (number INTEGER)")
    write_migration(tmp_path, "0003", "0002", "INSERT INTO steps VALUES (NULL)")

    with pytest.raises(Exception, match=r"(?i)null"):
        Migrations("boxes", tmp_path).upgrade(empty_database)

    def state(db: Connection) -> tuple[str | None, bool]:
        return current_revision(db), db.dialect.has_table(db, "more")

    assert look(empty_database, state) == ("0001", False)
    write_migration(tmp_path, "0003", "0002", "INSERT INTO steps VALUES (3)")
    assert Migrations("boxes", tmp_path).upgrade(empty_database) == "0001"


@pytest.mark.parametrize("service", MODELS)
def test_the_migrated_schema_is_that_of_the_models(service: str, new_database: NewDatabase) -> None:
    for path in (ROOT / service).rglob("models.py"):
        import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    metadata = import_module(MODELS[service]).metadata

    def differences(db: Connection) -> list[object]:
        ours = {"include_name": lambda name, kind, _: kind != "table" or not OTHERS.match(name)}
        return list(compare_metadata(MigrationContext.configure(db, opts=ours), metadata))

    assert look(new_database(service), differences) == []


@pytest.mark.engine("sqlite")
@pytest.mark.parametrize("service", MODELS)
def test_an_index_of_some_rows_is_of_those_that_its_model_names(
    service: str, new_database: NewDatabase
) -> None:
    tables = import_module(MODELS[service]).metadata.tables

    def conditions(db: Connection) -> dict[str, str]:
        found = [index for table in tables for index in inspect(db).get_indexes(table)]
        options = {str(index["name"]): index.get("dialect_options", {}) for index in found}
        return {name: str(one["sqlite_where"]) for name, one in options.items() if one}

    said = {
        str(index.name): str(index.info.get("where", index.dialect_kwargs.get("sqlite_where")))
        for table in tables.values()
        for index in table.indexes
        if index.info or index.dialect_kwargs.get("sqlite_where") is not None
    }
    assert said
    assert look(new_database(service), conditions) == said


@pytest.mark.parametrize("service", SERVICES)
def test_migrations_are_one_chain_and_named_by_their_revisions(service: str) -> None:
    migrations = SERVICES[service].migrations()
    before = None

    for path in sorted(migrations.folder.glob("*.py")):
        assert re.fullmatch(r"\d{4}_[a-z0-9_]+\.py", path.name)
        values = {
            node.targets[0].id: node.value.value
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Assign)
            if isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant)
        }
        assert values["revision"] == path.name[:4]
        assert values["down_revision"] == before
        # An older one, by whose release it can be run on; see CONTRIBUTING.md.
        runs_with = str(values.get("compatible_with", "0001"))
        assert runs_with in migrations.revisions
        assert runs_with < path.name[:4] or "compatible_with" not in values
        before = values["revision"]

    assert migrations.head == before


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("sqlite:////dev/null/boxes.db", DatabaseUnavailable),
        ("sqlite:////dev/null", DatabaseUnavailable),
        ("sqlite:///:memory:", ValueError),
        ("postgresql://u:s3cret@127.0.0.1:1/x", DatabaseUnavailable),
        ("postgresql://u:s3cret/x@host/x", ValueError),
        ("postgresql://u:x@host:s3cret/x", ValueError),
    ],
)
def test_a_database_that_can_not_be_reached_is_told_from_a_bug(
    url: str, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        SERVICES["crm_api"].migrations().upgrade(url)

    assert "s3cret" not in str(caught.value)


def test_a_database_or_a_user_that_is_not_there_is_told_from_a_bug(postgres_server: str) -> None:
    for url in (
        with_database(postgres_server, "nowhere"),
        postgres_server.replace("postgres:@", "nobody:s3cret@"),
    ):
        with pytest.raises(DatabaseUnavailable):
            SERVICES["crm_api"].migrations().upgrade(url)


@pytest.mark.engine("sqlite")
def test_a_damaged_file_is_refused(new_database: NewDatabase) -> None:
    url = new_database("crm_api")
    path = Path(url.removeprefix("sqlite:///"))
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096)

    with pytest.raises(DatabaseUnavailable) as told:
        SERVICES["crm_api"].migrations().upgrade(url)

    assert re.match("the file is damaged|database disk image is malformed", reason(told.value))
    assert reason(told.value).endswith(str(path))


def migrate_to(revision: str, service: str, url: str, folder: Path) -> None:
    """Bring a database to where an older version had brought it."""
    folder.mkdir()
    for file in SERVICES[service].migrations().folder.glob("[0-9]*_*.py"):
        if file.name[:4] <= revision:
            shutil.copy(file, folder)
    Migrations(service, folder).upgrade(url)


def test_what_was_stored_of_a_start_with_now_becomes_a_place_in_the_feed(
    empty_database: str, tmp_path: Path
) -> None:
    """All who came since that start, and are read, are in the ledger: so this place serves."""
    migrate_to("0007", "integration_service", empty_database, tmp_path / "older")
    change(
        empty_database,
        "UPDATE poller SET start_from = 'now', started_at = '2026-01-05 13:00:00',"
        " cursor = 'a-7', position = 7",
    )

    SERVICES["integration_service"].migrations().upgrade(empty_database)

    query = "SELECT start_cursor, newest_at_start FROM poller"
    [(cursor, newest)] = look(empty_database, lambda db: db.exec_driver_sql(query).all())
    assert (cursor, str(newest)[:19]) == ("a-7", "2026-01-05 13:00:00")


def test_registrations_that_an_older_version_has_pruned_left_no_trace(
    empty_database: str, tmp_path: Path
) -> None:
    migrate_to("0007", "crm_api", empty_database, tmp_path / "older")
    change(empty_database, "UPDATE feed_head SET last_position = 9, pruned_position = 4")

    SERVICES["crm_api"].migrations().upgrade(empty_database)

    query = "SELECT traced_from FROM feed_head"
    assert look(empty_database, lambda db: db.exec_driver_sql(query).scalar_one()) == 4


def test_tokens_that_had_one_name_are_told_apart_and_the_oldest_valid_one_keeps_it(
    empty_database: str, tmp_path: Path
) -> None:
    migrate_to("0011", "crm_api", empty_database, tmp_path / "older")
    instant = "2026-01-05 12:00:00+00:00"
    long = "x" * 99
    names = ["shop", "till", "shop", "shop", "shop #4", long, long, long]
    rows = [
        (number, name, f"'{instant}'" if number in {1, 6} else "NULL")
        for number, name in enumerate(names, start=1)
    ]
    for number, name, revoked in rows:
        values = f"{number}, '{name}', 'agent', 'crm_0', '{number}', '{instant}', {revoked}"
        columns = "id, name, role, prefix, digest, created_at, revoked_at"
        change(empty_database, f"INSERT INTO tokens ({columns}) VALUES ({values})")  # noqa: S608

    SERVICES["crm_api"].migrations().upgrade(empty_database)

    query = "SELECT name FROM tokens ORDER BY id"
    found = look(empty_database, lambda db: db.exec_driver_sql(query).scalars().all())
    cut = "x" * 97
    assert found == [
        *("shop #1", "till", "shop", "shop #4'", "shop #4"),
        *(f"{cut} #6", long, f"{cut} #8"),
    ]
