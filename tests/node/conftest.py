"""What is tested with programs of Node: their folder, and the three services as processes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

# Fixtures, by their names.
from tests.system.conftest import stack

__all__ = ["stack"]

HERE = Path(__file__).parent


@pytest.fixture
def node() -> Callable[[str], list[str]]:
    """Give what starts a program of Node; skip the test where there is none."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("there is no node on this machine")
    if not (HERE / "node_modules").is_dir():
        pytest.skip("nothing is installed in tests/node: make test-postman does that")
    return lambda program: [found, str(HERE / program)]
