"""What the supervisor does about workers that never start, and about those that never stop."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

SECONDS = 60

SUPERVISE = """
import sys

import created
from service_kit.process import logs
from service_kit.process import server

if __name__ == "__main__":
    logs.configure("INFO", "text")
    server.STOP_SECONDS = 0.5
    sys.exit(server.run(created.create, created.settings, server.bind("127.0.0.1", 0)))
"""
CREATED = """
import sys

from service_kit.process.settings import ServiceSettings

settings = ServiceSettings(database_url="sqlite:///{folder}/boxes.db", port=8009, workers=2)

def create():
    {create}
"""
REFUSE = """
    print("boxes: API_TOKENS: each entry is role:token", file=sys.stderr)
    sys.exit(3)
"""
SERVE = """
    print("a worker has come", file=sys.stderr, flush=True)
    from tests.service_kit.conftest import create_app

    return create_app(settings.database_url)
"""


@contextmanager
def supervising(folder: Path, create: str) -> Iterator[subprocess.Popen[str]]:
    (folder / "created.py").write_text(CREATED.format(folder=folder, create=create.strip()))
    (folder / "run.py").write_text(SUPERVISE)
    supervisor = subprocess.Popen(
        [sys.executable, folder / "run.py"],
        env={"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield supervisor
    finally:
        if supervisor.poll() is None:
            for one in [*psutil.Process(supervisor.pid).children(), supervisor]:
                one.kill()
        supervisor.communicate()


def test_workers_that_refuse_their_settings_end_the_service(tmp_path: Path) -> None:
    with supervising(tmp_path, REFUSE) as supervisor:
        _, log = supervisor.communicate(timeout=SECONDS)

    assert supervisor.returncode == 3
    assert "boxes: API_TOKENS: each entry is role:token" in log
    assert log.count("failed to start, stopping the parent process.") == 1
    assert "died" not in log


def test_a_worker_that_hangs_does_not_keep_the_service_from_its_end(tmp_path: Path) -> None:
    with supervising(tmp_path, SERVE) as supervisor:
        come = 0
        while come < 2:
            come += "a worker has come" in supervisor.stderr.readline()
        first, *_ = [
            one
            for one in psutil.Process(supervisor.pid).children()
            if "spawn_main" in " ".join(one.cmdline())
        ]
        first.suspend()
        supervisor.send_signal(signal.SIGTERM)
        _, log = supervisor.communicate(timeout=SECONDS)

    assert supervisor.returncode == signal.SIGKILL
    assert log.count(f"Worker {first.pid} did not stop in time; killing it.") == 1
