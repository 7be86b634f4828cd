"""What the system tests share: the crash library, and a nursery that services are forked off."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, NewDatabase
from tests.system.crash_points import NoCompiler, build
from tests.system.processes import Nursery
from tests.system.stack import Stack


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return build(tmp_path_factory.mktemp("crash_points"))
    except NoCompiler as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def nursery(request: pytest.FixtureRequest) -> Iterator[Nursery]:
    """Starts services in a tenth of a second; where there is a compiler, they can be crashed."""
    try:
        library = request.getfixturevalue("library")
    except pytest.skip.Exception:
        library = None
    with Nursery(ROOT, library) as nursery:
        yield nursery


@pytest.fixture
def stack(nursery: Nursery, new_database: NewDatabase, tmp_path: Path) -> Iterator[Stack]:
    """Three services on the test's engine, wired to each other and not yet started."""
    with Stack(tmp_path, nursery, new_database) as stack:
        yield stack
