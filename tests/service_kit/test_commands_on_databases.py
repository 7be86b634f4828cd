"""Commands that take a database as it is: they make none, and say what is wrong with one."""

import sqlite3
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from tests.conftest import SERVICES

COMMANDS = [
    ("crm_api", "prune-feed --older-than-days 7"),
    ("crm_api", "prune"),
    ("crm_api", "export-customers"),
    ("crm_api", "import-customers new.csv"),
    ("crm_api", "import-customers new.csv --dry-run"),
    ("inventory_api", "verify"),
    ("inventory_api", "verify --repair"),
    ("inventory_api", "prune"),
    ("integration_service", "prune"),
    ("integration_service", "status"),
    ("integration_service", "status --json"),
    ("integration_service", "dead-letters"),
    ("integration_service", "reconcile"),
    ("integration_service", "retry"),
    ("integration_service", "run-once"),
]
MISSPELT = {"DATABSE_URL": "DATABASE_URL", "API_TOKEN": "API_TOKENS", "LOGLEVEL": "LOG_LEVEL"}

Run = Callable[[str, str], int]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("log_as_before")]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line of a service, in an empty folder but for a file to import."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.csv").write_text("name,email\nAda,ada@example.com\n")

    def run(service: str, line: str) -> int:
        code: int = import_module(f"{service}.commands").main(line.split())
        return code

    return run


@pytest.mark.parametrize(("service", "line"), COMMANDS)
def test_where_there_is_no_database_none_is_made(
    run: Run, tmp_path: Path, service: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(service, line) == 2

    out, err = capsys.readouterr()
    name = service.split("_", 1)[0]
    assert out == ""
    assert err == (
        f"{service}: the database can't be used: there is none at {tmp_path}/data/{name}.db. "
        f"'python -m {service} migrate' makes one.\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


@pytest.mark.parametrize(("service", "line"), COMMANDS)
def test_a_database_that_was_never_migrated_is_told_in_one_line(
    run: Run,
    tmp_path: Path,
    service: str,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "empty.db"
    sqlite3.connect(file).close()
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{file}")

    assert run(service, line) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"{service}: the database can't be used: its schema is at nothing: "
        f"run 'python -m {service} migrate'.\n"
    )


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("variable", MISSPELT)
def test_a_variable_that_is_nearly_a_setting_is_warned_about(
    run: Run,
    service: str,
    variable: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, "s3cret-value")

    assert run(service, "migrate") == 0

    err = capsys.readouterr().err
    assert f"WARNING: {variable} has no effect. Did you mean {MISSPELT[variable]}? [" in err
    assert "s3cret-value" not in err


def test_an_import_warns_of_it_once(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("crm_api", "migrate") == 0
    monkeypatch.setenv("DATABSE_URL", "s3cret-value")
    capsys.readouterr()

    assert run("crm_api", "import-customers new.csv") == 0

    assert capsys.readouterr().err.count("DATABSE_URL has no effect") == 1
