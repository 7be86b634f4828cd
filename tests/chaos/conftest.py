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
from tests.chaos.plan import Plan
from tests.chaos.table import table
from tests.conftest import ROOT, NewDatabase, run_sql, with_database
from tests.system.conftest import library, nursery

__all__ = ["library", "nursery"]

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
        server = request.getfixturevalue("postgres_server")
        run_sql(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


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
