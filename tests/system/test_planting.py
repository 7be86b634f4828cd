"""The bugs that `make chaos SELFTEST=1` plants can still be planted in the code as it is."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.planted import BUGS, Bug
from tests.system.planting import copy_of_the_code


@pytest.mark.parametrize("bug", [pytest.param(bug, id=bug.name) for bug in BUGS])
def test_a_bug_can_be_planted(bug: Bug, tmp_path: Path) -> None:
    copy = copy_of_the_code(tmp_path / "code", bug.changes)

    # With every name that the planted text uses.
    files = [copy / file for file in {change.file for change in bug.changes}]
    check = [sys.executable, "-m", "ruff", "check", "--isolated", "--select=F821", *files]
    subprocess.run(check, check=True, timeout=30)
