"""The bugs that `make chaos SELFTEST=1` plants can still be planted in the code as it is."""

from pathlib import Path

import pytest

from tests.chaos.planted import BUGS, Bug
from tests.system.planting import copy_of_the_code


@pytest.mark.parametrize("bug", [pytest.param(bug, id=bug.name) for bug in BUGS])
def test_a_bug_can_be_planted(bug: Bug, tmp_path: Path) -> None:
    copy = copy_of_the_code(tmp_path / "code", bug.changes)

    for file in {change.file for change in bug.changes}:
        compile((copy / file).read_text(), file, "exec")
