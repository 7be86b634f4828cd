"""The disk is full: changes are refused in plain words, reads go on, then all is made up for.

No process ends or is started again, and nobody does anything but make room.
"""

import itertools
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import bearer
from tests.system.processes import Nursery, until
from tests.system.stack import Server, Stack

PROBLEM = "urn:problem:database-unavailable"
# Reading, with whose token.
READS = {
    "crm_api": ("/api/customers/1", "agent123"),
    "inventory_api": ("/package-requests", "clerk123"),
    "integration_service": ("/deliveries", "viewer123"),
}


@contextmanager
def limited(servers: list[Server], _folder: Path) -> Iterator[None]:
    """Let no file of these processes grow past the size of its journal now."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    for server in servers:
        journal = Path(server.database_url.removeprefix("sqlite:///") + "-wal")
        limit = (journal.stat().st_size, resource.RLIM_INFINITY)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, limit)
    try:
        yield
    finally:
        for server in servers:
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, unlimited)


@contextmanager
def filled(_servers: list[Server], folder: Path) -> Iterator[None]:
    """Fill the file system that holds the databases to its last byte."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 12))
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system of its own in memory, where this account may."""
    folder.mkdir()
    mount = ["/bin/mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this account can't mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(folder)], check=True, timeout=10)
        folder.rmdir()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "8m") as folder:
        yield folder


@pytest.fixture(params=["file-size limit", "full disk"])
def full(
    request: pytest.FixtureRequest,
    nursery: Nursery,
    sqlite_template: Callable[[str], Path],
    tmp_path: Path,
) -> Iterator["Full"]:
    is_limit = request.param == "file-size limit"
    folder = tmp_path if is_limit else request.getfixturevalue("small_disk")

    def new_database(service: str) -> str:
        shutil.copy(sqlite_template(service), folder / f"{service}.db")
        return f"sqlite:///{folder / service}.db"

    with Stack(tmp_path, nursery, new_database) as stack:
        # A lease that could not be renewed is over when there is room again.
        stack.integration.environment["LEASE_SECONDS"] = "1"
        yield Full(stack, limited if is_limit else filled, folder)


class Full:
    """A stack, and a way to leave some of its services without room."""

    def __init__(self, stack: Stack, way: Any, folder: Path) -> None:
        self.stack = stack
        self._way = way
        self._folder = folder
        self._numbers = itertools.count()

    @contextmanager
    def without_room(self, *services: str) -> Iterator[None]:
        """Take the room; afterwards find that all is well again by itself."""
        pids = [server.pid for server in self.stack.servers]
        with self._way([self.stack.server(name) for name in services], self._folder):
            yield
        self.stack.wait_until_ready()
        self.stack.wait_until_quiet()
        assert [server.pid for server in self.stack.servers] == pids

    def refused_customer(self, **more: Any) -> httpx.Response:
        """Add customers until there is no room for one; who was refused must never be there."""

        def refused() -> httpx.Response | None:
            email = f"refused{next(self._numbers)}@example.com"
            answer = self.stack.client.post(
                f"{self.stack.crm.url}/api/customers",
                json={"name": "Jane Doe", "email": email, **more},
                headers=bearer("agent123"),
            )
            self.stack.outcomes[email] = "ok" if answer.is_success else "refused"
            return None if answer.is_success else answer

        found: httpx.Response = until(refused, "the CRM has no room left")
        return found

    def refused_item(self) -> httpx.Response:
        numbers = itertools.count()

        def refused() -> httpx.Response | None:
            answer = self.stack.client.post(
                f"{self.stack.inventory.url}/items",
                json={"sku": f"MUG-{next(numbers)}", "name": "Mug", "tracked": True},
                headers=bearer("clerk123"),
            )
            return None if answer.is_success else answer

        found: httpx.Response = until(refused, "Inventory has no room left")
        return found

    def state(self, service: str) -> tuple[int, int, int]:
        """Return how it answers who asks whether it lives, whether it is ready, and for data."""
        url = self.stack.server(service).url
        path, token = READS[service]
        asked = [f"{url}/health", f"{url}/health/ready", f"{url}{path}"]
        answers = [self.stack.client.get(one, headers=bearer(token)) for one in asked]
        return answers[0].status_code, answers[1].status_code, answers[2].status_code

    def wait_until_unready(self, service: str) -> None:
        until(lambda: not self.stack.server(service).is_ready(), f"{service} is not ready")


def check_refusal(answer: httpx.Response) -> None:
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    problem = answer.json()
    assert problem["type"] == PROBLEM
    assert "database" in problem["detail"]


ALIVE_UNREADY_READING = (200, 503, 200)


def test_every_service_refuses_in_plain_words_reads_on_and_recovers(full: Full) -> None:
    stack = full.stack
    stack.start()
    stack.add_customers(2)
    stack.wait_until_quiet()

    with full.without_room("crm_api", "inventory_api", "integration_service"):
        check_refusal(full.refused_customer())
        check_refusal(full.refused_item())
        for service in READS:
            full.wait_until_unready(service)
            assert full.state(service) == ALIVE_UNREADY_READING, service

    stack.add_customers(2)
    stack.wait_until_quiet()
    stack.check()


@pytest.mark.parametrize("full", ["file-size limit"], indirect=True)
@pytest.mark.parametrize("service", ["inventory_api", "integration_service"])
def test_customers_who_come_meanwhile_have_their_packages_afterwards(
    full: Full, service: str
) -> None:
    stack = full.stack
    stack.start()
    stack.add_customers(1)
    stack.wait_until_quiet()

    with full.without_room(service):
        stack.add_customers(3)
        full.wait_until_unready(service)
        [(made,)] = stack.inventory.rows("SELECT count(*) FROM package_requests")
        # What comes alone is sent while it is noted, and again once it can be.
        assert made == 1 or service == "integration_service"

    stack.check()
    assert stack.inventory.rows("SELECT count(*) FROM package_requests") == [(4,)]
