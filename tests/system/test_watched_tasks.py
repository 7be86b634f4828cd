"""A task of the database layer that ends by a fault of its own ends the process, which says so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import NewDatabase
from tests.system.planting import Change, copy_of_the_code
from tests.system.processes import Nursery, until
from tests.system.stack import Server

FAULTS = {
    "sqlite": Change(
        "service_kit/database/sqlite.py",
        "                self._wake.clear()\n",
        "                self._wake.clear()\n                raise ZeroDivisionError\n",
    ),
    "postgresql": Change(
        "service_kit/database/herald.py",
        "        own_pid = connection.get_server_pid()\n",
        "        raise ZeroDivisionError\n",
    ),
}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    folder = tmp_path_factory.mktemp("faulty")
    with Nursery(copy_of_the_code(folder, list(FAULTS.values()))) as nursery:
        yield nursery


@pytest.mark.parametrize("name", ["crm_api", "inventory_api", "integration_service"])
def test_the_process_ends(
    faulty: Nursery, new_database: NewDatabase, tmp_path: Path, name: str
) -> None:
    server = Server(name, faulty, tmp_path, new_database(name))
    # Its demo data are what is written first.
    server.start()
    until(lambda: server.is_dead, "it ends")

    assert server.process is not None
    assert server.process.poll() == 1
    assert "has died; the process ends." in server.logged()
    assert "ZeroDivisionError" in server.logged()
    server.close()


def test_a_worker_is_replaced(faulty: Nursery, new_database: NewDatabase, tmp_path: Path) -> None:
    server = Server("crm_api", faulty, tmp_path, new_database("crm_api"))
    server.start(WORKERS="2")
    until(lambda: "ended with 1; starting another" in server.logged(), "it is replaced")
    server.close()
