"""The campaign's clocks: the wall clock jumps as the file says, and nothing else does."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.system.crash_points import NoCompiler, build
from tests.system.processes import bare_environment

LOOK = """
import sys, time, datetime, sqlite3
def clocks():
    [(by_sqlite,)] = sqlite3.connect(":memory:").execute("SELECT unixepoch()").fetchall()
    return time.time(), datetime.datetime.now().timestamp(), by_sqlite
before, began_at = clocks(), time.monotonic()
open(sys.argv[1], "w").write(sys.argv[2])
time.sleep(0.01)
after, seconds = clocks(), time.monotonic() - began_at
print(*(round(b - a) for a, b in zip(before, after, strict=True)), seconds < 60)
"""


@pytest.mark.parametrize("offset", [90, -3600, 259_200])
def test_a_clock_jumps_in_a_running_process(tmp_path: Path, offset: int) -> None:
    try:
        library = build(tmp_path, ROOT / "tests" / "chaos" / "clock_offset.c")
    except NoCompiler as reason:
        pytest.skip(str(reason))
    file = tmp_path / "clock"
    done = subprocess.run(
        [sys.executable, "-c", LOOK, file, str(offset)],
        env=bare_environment() | {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(file)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *jumps, is_monotonic = done.stdout.split()
    assert all(abs(int(jump) - offset) <= 60 for jump in jumps), done.stdout
    assert is_monotonic == "True"
