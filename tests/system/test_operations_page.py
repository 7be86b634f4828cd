"""The commands of docs/operations.md, run as they are printed against running services."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT, bearer
from tests.system.processes import bare_environment, until
from tests.system.stack import Stack

BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
COMMANDS = "\n".join(BLOCK.findall((ROOT / "docs" / "operations.md").read_text())).splitlines()


# It refuses while the service polls, as the page says; it has tests of its own.
APART = "python -m integration_service run-once"


@pytest.mark.timeout(300)
@pytest.mark.engine("sqlite")
def test_every_command_does_what_the_page_says(stack: Stack, tmp_path: Path) -> None:
    stack.start()
    stack.add_customers(2)
    stack.wait_until_quiet()
    [(uid,)] = stack.integration.rows("SELECT subject FROM deliveries ORDER BY id LIMIT 1")
    [(box,)] = stack.inventory.rows(
        "SELECT request_id FROM package_requests ORDER BY id DESC LIMIT 1"
    )
    for move in ("pack", "cancel"):
        path = f"{stack.inventory.url}/package-requests/{box}/{move}"
        httpx.post(path, headers=bearer("admin123")).raise_for_status()
    bin_folder = Path(sys.executable).parent
    environment = bare_environment() | {
        "CUSTOMER_UID": uid,
        "REQUEST_ID": box,
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": stack.integration.database_url,
        "CRM_API_URL": stack.crm.url,
        "INVENTORY_API_URL": stack.inventory.url,
    }
    environment["PATH"] = f"{bin_folder}:{environment['PATH']}"
    of_crm = environment | {"DATABASE_URL": stack.crm.database_url}
    own = {"INTEGRATION": stack.integration, "CRM": stack.crm, "INVENTORY": stack.inventory}
    exports = "; ".join(line for line in COMMANDS if line.startswith("export"))
    exports += "".join(f"; export {name}={server.url}" for name, server in own.items())
    done = set()

    for command in COMMANDS:
        if command.startswith("export") or command in done:
            continue
        done.add(command)
        until(_no_comparison_runs(stack), "no comparison runs")
        ran = subprocess.run(
            ["/bin/bash", "-c", f"{exports}; {command}"],
            env=of_crm if command.startswith("python -m crm_api") else environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        expected = 2 if command == APART else 0
        assert ran.returncode == expected, f"{command}:\n{ran.stdout}{ran.stderr}"
    stack.wait_until_quiet()
    stack.check()
    assert APART in done
    assert len(done) > 20


def _no_comparison_runs(stack: Stack) -> Callable[[], bool]:
    return lambda: (
        stack.integration.rows("SELECT 1 FROM reconciliations WHERE state = 'running'") == []
    )
