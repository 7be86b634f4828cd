"""What the tests of more than one machine share: PgBouncer, and the three services as processes."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.machines.cluster import Cluster
from tests.machines.pgbouncer import PgBouncer, pgbouncer, program

# Fixtures, by their names.
from tests.service_kit.conftest import boxes_on_postgres, database_url
from tests.system.conftest import stack

__all__ = ["boxes_on_postgres", "database_url", "stack"]


@pytest.fixture
def bouncer(postgres_server: str) -> Iterator[PgBouncer]:
    """PgBouncer in transaction mode, in front of this process's PostgreSQL."""
    if program() is None:
        pytest.skip("there is no pgbouncer on this machine")
    with pgbouncer(postgres_server) as running:
        yield running


class StartCluster(Protocol):
    def __call__(self, *, is_synchronous: bool) -> Cluster: ...


@pytest.fixture
def start_cluster(database_folder: Path) -> Iterator[StartCluster]:
    """Start a primary and a standby, which the primary waits for or not."""
    with ExitStack() as exits:

        def start(*, is_synchronous: bool) -> Cluster:
            folder = exits.enter_context(tempfile.TemporaryDirectory(dir=database_folder))
            Path(folder).chmod(0o777)
            cluster = Cluster(Path(folder), is_synchronous=is_synchronous)
            exits.callback(cluster.close)
            return cluster

        yield start


@pytest.fixture
def exits() -> Iterator[ExitStack]:
    with ExitStack() as exits:
        yield exits
