"""Commands of copies, run in this process on databases that nobody else uses."""

import uuid
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import drop_database, run_sql, with_database

# Gives the URL of a database without a table, on the engine that is not the test's.
Elsewhere = Callable[[], str]


class Ran(NamedTuple):
    """How a command ended, and what it has written."""

    code: int
    out: str
    err: str


# Takes a service, the URL of its database, and the command with its arguments.
Run = Callable[..., Ran]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], log_as_before: None
) -> Run:
    def run(service: str, url: str, *command: str | Path) -> Ran:
        monkeypatch.setenv("DATABASE_URL", url)
        capsys.readouterr()
        code: int = import_module(f"{service}.commands").main([str(part) for part in command])
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture
def elsewhere(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path, postgres_server: str
) -> Iterator[Elsewhere]:
    made: list[str] = []

    def new() -> str:
        if engine == "postgresql":
            return f"sqlite:///{tmp_path}/elsewhere.db"
        name = f"elsewhere_{uuid.uuid4().hex[:8]}"
        run_sql(postgres_server, f'CREATE DATABASE "{name}"')
        made.append(name)
        return with_database(postgres_server, name)

    yield new
    for name in made:
        drop_database(postgres_server, name)
