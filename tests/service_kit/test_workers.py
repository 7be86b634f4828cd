"""What the supervisor does about workers that will never start."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

SUPERVISE = """
import socket, sys
import refusing
from service_kit import logs, workers

if __name__ == "__main__":
    logs.configure("INFO", "text")
    sys.exit(workers.supervise(refusing.work, socket.socket(), 2))
"""
REFUSE = """
import sys

def work(listening):
    print("boxes: API_TOKENS: each entry is role:token", file=sys.stderr)
    return 2
"""


def test_workers_that_refuse_their_settings_end_the_service(tmp_path: Path) -> None:
    (tmp_path / "refusing.py").write_text(REFUSE)
    (tmp_path / "run.py").write_text(SUPERVISE)

    ended = subprocess.run(
        [sys.executable, tmp_path / "run.py"],
        env={"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )

    assert ended.returncode == 2
    assert "boxes: API_TOKENS: each entry is role:token" in ended.stderr
    assert ended.stderr.count("refused to start; the service ends.") == 1
    assert "starting another" not in ended.stderr
