"""What the system tests share: a stack of all three services."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import NewDatabase
from tests.system.processes import Nursery
from tests.system.stack import Stack


@pytest.fixture
def stack(nursery: Nursery, new_database: NewDatabase, tmp_path: Path) -> Iterator[Stack]:
    """Three services on the test's engine, wired to each other and not yet started."""
    with Stack(tmp_path, nursery, new_database) as stack:
        yield stack
