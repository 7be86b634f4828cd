"""What is tested with programs of Node: their folder, and the three services as processes."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

# Fixtures, by their names.
from tests.system.conftest import stack

__all__ = ["stack"]

HERE = Path(__file__).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


@pytest.fixture
def node() -> Callable[[str], list[str]]:
    """Give what starts a program of Node; skip the test where there is none."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("there is no node on this machine")
    if not (HERE / "node_modules").is_dir():
        pytest.skip("nothing is installed in tests/node: make test-postman does that")
    return lambda program: [found, str(HERE / program)]


@pytest.fixture
def browser() -> str:
    """Give the program of a Chromium; skip the test where there is none."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"there is none of {', '.join(BROWSERS)}; CHROMIUM may name one")
    return found


def answer_of(command: Sequence[str], seconds: float) -> Any:
    """Run a program to its end, and give the JSON that it prints; a failure shows its errors."""
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)
