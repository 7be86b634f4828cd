"""What the campaigns share. Not part of `make test`: `make chaos` names their files."""

import os
import random
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.campaign import Score
from tests.chaos.plan import KINDS, Plan
from tests.chaos.table import table
from tests.chaos.trouble import CLOCK_OF_POSTGRESQL
from tests.conftest import ROOT, NewDatabase, drop_database, run_sql, with_database
from tests.system.crash_points import NoCompiler, build
from tests.system.processes import Nursery

SCORES = pytest.StashKey[list[Score]]()
KEPT = ROOT / ".chaos"


@pytest.fixture(scope="session")
def seed() -> int:
    """Choose the campaign's seed; CHAOS_SEED sets it."""
    return int(os.environ.get("CHAOS_SEED") or random.randrange(1_000_000))


@pytest.fixture(scope="session")
def seconds() -> float:
    """Return for how long there are faults, over all campaigns of a run."""
    return float(os.environ.get("CHAOS_SECONDS") or 120)


@pytest.fixture(scope="session")
def kinds(clock_library: Path | None) -> frozenset[str]:
    """Return the kinds of trouble; CHAOS_FAULTS chooses some, as in CHAOS_FAULTS=links,kills."""
    named = os.environ.get("CHAOS_FAULTS")
    chosen = frozenset(named.split(",")) if named else KINDS
    assert chosen <= KINDS, f"CHAOS_FAULTS knows {', '.join(sorted(KINDS))}"
    if "clocks" in chosen and clock_library is None:
        assert not os.environ.get("CI"), "clocks can't be set: there is no C compiler named cc"
        return chosen - {"clocks"}
    return chosen


@pytest.fixture(scope="session")
def clocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the files by which the clocks of all processes go."""
    folder = tmp_path_factory.mktemp("clocks")
    (folder / CLOCK_OF_POSTGRESQL).write_text("0")
    return folder


@pytest.fixture(scope="session")
def clock_library(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    try:
        return build(tmp_path_factory.mktemp("clock"), Path(__file__).with_name("clock_offset.c"))
    except NoCompiler:
        return None


@pytest.fixture(scope="session")
def _clock_of_postgresql(clock_library: Path | None, clocks: Path) -> Iterator[None]:
    """Have the server, which inherits it, go by a clock that can be set."""
    with pytest.MonkeyPatch.context() as patch:
        if clock_library is not None:
            patch.setenv("LD_PRELOAD", str(clock_library))
            patch.setenv("CLOCK_OFFSET_FILE", str(clocks / CLOCK_OF_POSTGRESQL))
        yield


@pytest.fixture(scope="session")
def postgres_server(_clock_of_postgresql: None, postgres_server: str) -> str:
    return postgres_server


@pytest.fixture(scope="session")
def nursery(clock_library: Path | None) -> Iterator[Nursery]:
    with Nursery(ROOT, clock_library) as nursery:
        yield nursery


@pytest.fixture
def empty_database(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[NewDatabase]:
    """Give the URL of a new database. Its service migrates it, and may be a changed copy."""
    made: list[str] = []

    def new(service: str) -> str:
        name = f"{service}_{uuid.uuid4().hex[:8]}"
        if engine == "sqlite":
            return f"sqlite:///{tmp_path / name}.db"
        server = request.getfixturevalue("postgres_server")
        run_sql(server, f'CREATE DATABASE "{name}"')
        made.append(name)
        return with_database(server, name)

    yield new
    for name in made:
        drop_database(request.getfixturevalue("postgres_server"), name)


@pytest.fixture
def tell(pytestconfig: pytest.Config) -> Callable[[Score], None]:
    """Have a score shown at the end of the run."""
    return pytestconfig.stash.setdefault(SCORES, []).append


@contextmanager
def kept_on_failure(plan: Plan, name: str) -> Iterator[Path]:
    """Give a folder for logs and the schedule; it stays when the campaign fails, and is named."""
    folder = KEPT / f"{name}-{plan.seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException as error:
        error.add_note(f"Seed {plan.seed}. The schedule of the faults and the logs: {folder}")
        raise
    shutil.rmtree(folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if scores := terminalreporter.config.stash.get(SCORES, []):
        terminalreporter.section("campaigns")
        terminalreporter.write_line(table(scores))
        for kind in sorted(KINDS - set().union(*(score.plan.kinds for score in scores))):
            terminalreporter.write_line(f"{kind}: left out")
