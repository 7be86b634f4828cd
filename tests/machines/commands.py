"""Runs a service's command as an operator does."""

import subprocess
import sys
from contextlib import closing

from tests.conftest import ROOT
from tests.system.processes import bare_environment
from tests.system.stack import Port


def run(service: str, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    with closing(Port()) as port:
        return subprocess.run(
            [sys.executable, "-m", service, *command],
            env=bare_environment() | {"PORT": str(port.number)} | environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
