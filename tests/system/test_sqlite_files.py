"""The files of a SQLite database vanish under a running service, which promises nothing more."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT, NewDatabase, bearer
from tests.system.processes import Nursery, bare_environment, end, until
from tests.system.stack import Server

pytestmark = pytest.mark.engine("sqlite")

BACKUP = ".backup"


def path_of(server: Server) -> Path:
    return Path(server.database_url.removeprefix("sqlite:///"))


def remove(suffix: str) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        Path(f"{path}{suffix}").unlink()

    return act


def move_a_backup_over(path: Path) -> None:
    Path(f"{path}{BACKUP}").replace(path)


MISHAPS = {
    "removed": remove(""),
    "without its log": remove("-wal"),
    "without its index": remove("-shm"),
    "replaced": move_a_backup_over,
}


@pytest.fixture
def crm(nursery: Nursery, new_database: NewDatabase, tmp_path: Path) -> Iterator[Server]:
    with closing(Server("crm_api", nursery, tmp_path, new_database("crm_api"))) as crm:
        crm.restart(SEED_DEMO_DATA="false")
        yield crm


def register(crm: Server, name: str) -> int:
    answer = httpx.post(
        f"{crm.url}/api/customers",
        json={"name": name, "email": f"{name}@example.com"},
        headers=bearer("agent123"),
        trust_env=False,
    )
    return answer.status_code


def names_in(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [name for (name,) in database.execute("SELECT name FROM customers ORDER BY id")]


@pytest.mark.parametrize("mishap", MISHAPS)
def test_nothing_is_acknowledged_that_is_gone(crm: Server, mishap: str) -> None:
    path = path_of(crm)
    assert register(crm, "ada") == 201
    with closing(sqlite3.connect(path)) as database:
        database.execute("VACUUM INTO ?", [f"{path}{BACKUP}"])
    assert register(crm, "bob") == 201

    MISHAPS[mishap](path)

    assert register(crm, "eve") == 503
    assert not crm.is_ready()
    assert httpx.get(f"{crm.url}/health", trust_env=False).status_code == 200
    until(lambda: "All that was acknowledged before is in" in crm.logged(), "it was saved")
    [saved] = path.parent.glob("*.rescued-*")
    assert "ERROR: " in crm.logged()
    assert f"{path}" in crm.logged()
    assert names_in(saved)[:2] == ["ada", "bob"]

    # As the log says: the service is stopped (hard), the copy takes the place, all is there again.
    end(crm.process, signal.SIGKILL)
    for one in path.parent.glob(f"{path.name}-*"):
        one.unlink()
    saved.replace(path)
    crm.restart()
    assert register(crm, "joe") == 201
    assert names_in(path)[:2] == ["ada", "bob"]


@pytest.mark.parametrize("mishap", MISHAPS)
def test_it_is_noticed_while_nobody_writes(crm: Server, mishap: str) -> None:
    path = path_of(crm)
    register(crm, "ada")
    with closing(sqlite3.connect(path)) as database:
        database.execute("VACUUM INTO ?", [f"{path}{BACKUP}"])

    MISHAPS[mishap](path)

    until(lambda: not crm.is_ready(), "it is not ready any more", seconds=5)
    until(lambda: "Changes are refused" in crm.logged(), "the log says so")


def test_the_service_starts_on_a_backup_that_was_moved_over_its_file(crm: Server) -> None:
    """What the old database's log holds must not get into the new one."""
    path = path_of(crm)
    register(crm, "ada")
    with closing(sqlite3.connect(path)) as database:
        database.execute("VACUUM INTO ?", [f"{path}{BACKUP}"])
    for number in range(50):
        register(crm, f"late{number}")

    move_a_backup_over(path)
    until(lambda: "All that was acknowledged before is in" in crm.logged(), "it was saved")
    end(crm.process, signal.SIGKILL)
    crm.restart()

    assert names_in(path) == ["ada"]
    assert register(crm, "bob") == 201


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_a_clean_stop_saves_what_the_log_held(crm: Server, suffix: str) -> None:
    path = path_of(crm)
    assert register(crm, "ada") == 201
    remove(suffix)(path)
    until(lambda: not crm.is_ready(), "it is not ready any more")

    code, _ = crm.end(signal.SIGTERM)
    crm.restart()

    assert code == 0
    assert names_in(path) == ["ada"]


def test_an_import_does_not_go_on_into_a_file_that_is_gone(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    url = new_database("crm_api")
    path = Path(url.removeprefix("sqlite:///"))
    csv = tmp_path / "many.csv"
    lines = "".join(f"Customer {n},c{n}@example.com\n" for n in range(2000))
    csv.write_text(f"name,email\n{lines}")
    importing = subprocess.Popen(
        [sys.executable, "-m", "crm_api", "import-customers", csv, "--chunk-size", "1"],
        cwd=ROOT,
        env=bare_environment() | {"DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: len(names_in(path)) > 3, "some are taken in")
        path.unlink()
        out, errors = importing.communicate(timeout=20)
    finally:
        importing.kill()
        importing.communicate()

    assert importing.returncode == 2
    assert out == ""
    assert f"the database can't be used: {path} was removed" in errors


def test_a_damaged_file_is_refused_at_the_start(
    nursery: Nursery, new_database: NewDatabase, tmp_path: Path
) -> None:
    path = Path(new_database("crm_api").removeprefix("sqlite:///"))
    size = path.stat().st_size
    with path.open("r+b") as file:
        for page in range(2, size // 4096, 3):
            file.seek(page * 4096)
            file.write(os.urandom(4096))

    with closing(Server("crm_api", nursery, tmp_path, f"sqlite:///{path}")) as crm:
        crm.start()
        until(lambda: crm.is_dead, "it refuses to start")

        assert crm.process is not None
        assert crm.process.poll() == 2
        assert "the database can't be used: " in crm.logged()
        assert str(path) in crm.logged()
