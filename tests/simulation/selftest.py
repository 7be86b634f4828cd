"""A simulation that finds nothing has proved nothing unless it would have found something.

Each bug is planted in a copy of the code, and the default seeds find it, by steps that know nothing
of it. `make simulate SELFTEST=1`
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.planted import Bug
from tests.conftest import ROOT
from tests.simulation.planted import BUGS
from tests.system.planting import copy_of_the_code

EXAMPLES = 3000
SECONDS = 480


@pytest.mark.timeout(660)
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Bug, tmp_path: Path) -> None:
    code = copy_of_the_code(tmp_path, bug.changes)
    command = [sys.executable, "-m", "tests.simulation", "--kinds", *sorted(bug.breaks)]
    done = subprocess.run(
        [*command, f"--examples={EXAMPLES}", f"--seconds={SECONDS}", "--no-shrinking"],
        # The copy comes before the code that stands beside the tests.
        env={**os.environ, "PYTHONPATH": f"{code}{os.pathsep}{ROOT}"},
        cwd=code,
        capture_output=True,
        text=True,
        timeout=SECONDS + 120,
        check=False,
    )
    sys.stdout.write(done.stdout)

    assert done.returncode == 1, done.stdout[-2000:] + done.stderr[-2000:]
    assert "broke a promise" in done.stdout
