"""A task of the database layer that ends by a fault of its own ends the process, which says so."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from tests.conftest import NewDatabase, bearer
from tests.system.planting import Change, copy_of_the_code
from tests.system.processes import Nursery, bare_environment, until
from tests.system.stack import Port, Server

FAULTS = {
    "sqlite": Change(
        "service_kit/database/sqlite/database.py",
        "                self._wake.clear()\n",
        "                self._wake.clear()\n                raise ZeroDivisionError\n",
    ),
    "postgresql": Change(
        "service_kit/database/postgres/notify.py",
        "        own_pid = connection.get_server_pid()\n",
        "        raise ZeroDivisionError\n",
    ),
}


# How long the supervisor waits for a worker that does not answer, which is fifteen seconds.
SHORTENED = Change("service_kit/process/server.py", "SILENT_SECONDS = 15", "SILENT_SECONDS = 5")


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_the_code(tmp_path_factory.mktemp("faulty"), [*FAULTS.values(), SHORTENED])


@pytest.fixture(scope="module")
def faulty(code: Path) -> Iterator[Nursery]:
    with Nursery(code) as nursery:
        yield nursery


WRITES = {
    "crm_api": ("/customers", {"name": "Ada", "email": "ada@example.com"}),
    "integration_service": ("/poll", {}),
}


def write(port: int, name: str) -> None:
    path, body = WRITES[name]
    with suppress(httpx.TransportError):
        httpx.post(
            f"http://127.0.0.1:{port}{path}", json=body, headers=bearer("admin123"), trust_env=False
        )


@pytest.mark.parametrize(
    ("engine", "name"), [("sqlite", "crm_api"), ("postgresql", "integration_service")]
)
def test_the_process_ends(
    faulty: Nursery, new_database: NewDatabase, tmp_path: Path, name: str
) -> None:
    with closing(Server(name, faulty, tmp_path, new_database(name))) as server:
        server.start(SEED_DEMO_DATA="false")
        until(lambda: server.is_dead, "it ends", meanwhile=lambda: write(server.port, name))

        assert server.process is not None
        assert server.process.poll() == 1
        assert "has died; the process ends." in server.logged()
        assert "ZeroDivisionError" in server.logged()


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.engine("postgresql")
def test_a_worker_is_replaced(code: Path, new_database: NewDatabase, tmp_path: Path) -> None:
    port, log = Port(), tmp_path / "log"
    own = {"PORT": str(port.number), "WORKERS": "2", "SEED_DEMO_DATA": "false"}
    with log.open("w") as out:
        service = subprocess.Popen(
            [sys.executable, "-m", "crm_api", "serve"],
            cwd=code,
            env=bare_environment() | own | {"DATABASE_URL": new_database("crm_api")},
            stderr=out,
            stdout=out,
        )
    try:
        until(
            lambda: "] died" in log.read_text(),
            "it is replaced",
            seconds=50,
            meanwhile=lambda: write(port.number, "crm_api"),
        )
    finally:
        service.terminate()
        service.wait(20)
        port.close()
