"""The commands of docs/operations.md, run as they are printed against running services."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT, bearer, run_sql, with_database
from tests.system.pages import OPERATIONS, commands_in, without
from tests.system.processes import Nursery, bare_environment, until
from tests.system.stack import Stack

# For a stack in production; test_production_page.py runs those.
ELSEWHERE = ("Before you go into production", "Rotate tokens")
COMMANDS = commands_in(without(OPERATIONS, *ELSEWHERE))


# It refuses while the service polls, as the page says; it has tests of its own.
RUN_ONCE = "python -m integration_service run-once"
# What needs a service to be stopped says so while it runs, and has a test of its own below.
ALONE = re.compile(r"python -m \w+ (restore|move) ")
COPIES = re.compile(r"python -m \w+ (backup|verify|restore|move) ")


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.engine("sqlite")
def test_every_command_does_what_the_page_says(
    stack: Stack, nursery: Nursery, tmp_path: Path
) -> None:
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
    environment = bare_environment() | {
        "CUSTOMER_UID": uid,
        "REQUEST_ID": box,
        "DATABASE_URL": stack.integration.database_url,
        "CRM_API_URL": stack.crm.url,
        "INVENTORY_API_URL": stack.inventory.url,
    }
    own = {"INTEGRATION": stack.integration, "CRM": stack.crm, "INVENTORY": stack.inventory}
    exports = "; ".join(line for line in COMMANDS if line.startswith("export"))
    exports += "".join(f"; export {name}={server.url}" for name, server in own.items())
    done = set()

    for command in COMMANDS:
        if command.startswith("export") or command in done:
            continue
        done.add(command)
        until(_no_comparison_runs(stack), "no comparison runs")
        own_environment = environment | own_database(stack, command)
        if command.startswith("python -m "):
            code, said = nursery.run(command, own_environment, tmp_path)
        else:
            code, said = _run_in_a_shell(f"{exports}; {command}", own_environment)
        expected = 2 if command == RUN_ONCE else 1 if ALONE.match(command) else 0
        assert code == expected, f"{command}:\n{said}"
    stack.wait_until_quiet()
    stack.check()
    assert RUN_ONCE in done
    assert len(done) > 20


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.engine("sqlite")
def test_backups_are_restored_and_databases_move_as_the_page_says(
    stack: Stack, tmp_path: Path, postgres_server: str
) -> None:
    stack.start()
    stack.add_customers(2)
    stack.wait_until_quiet()
    places = {server.service: f"moved_{server.service}" for server in stack.servers}
    for server in stack.servers:
        run_sql(postgres_server, f"CREATE DATABASE {places[server.service]}")
        server.end(signal.SIGTERM)
    path = f"{Path(sys.executable).parent}:{bare_environment()['PATH']}"
    done = []

    for command in filter(COPIES.match, COMMANDS):
        service = command.split()[2]
        new = with_database(postgres_server, places[service])
        own = own_database(stack, command) | {"NEW_DATABASE_URL": new}
        ran = subprocess.run(
            ["/bin/bash", "-c", command],
            env=bare_environment() | own | {"PATH": path, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, f"{command}:\n{ran.stdout}{ran.stderr}"
        done.append(command.split()[3])

    assert done == [*["backup"] * 3, *["verify"] * 3, *["restore"] * 3, *["move"] * 3]
    for server in stack.servers:
        server.database_url = with_database(postgres_server, places[server.service])
        server.start()
    stack.wait_until_ready()
    stack.add_customers(1)
    stack.wait_until_quiet()
    verdict = stack.verdict()
    assert (verdict.lost, verdict.missing, verdict.double, verdict.bugs) == ([], [], [], [])
    assert len(stack.crm.rows("SELECT 1 FROM customers")) == 3


def own_database(stack: Stack, command: str) -> dict[str, str]:
    """Give a command the database of its service; to curl the integration's, which it ignores."""
    service = command.split()[2] if command.startswith("python -m ") else "integration_service"
    return {"DATABASE_URL": stack.server(service).database_url}


def _run_in_a_shell(command: str, environment: Mapping[str, str]) -> tuple[int, str]:
    ran = subprocess.run(
        ["/bin/bash", "-c", command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


def _no_comparison_runs(stack: Stack) -> Callable[[], bool]:
    return lambda: (
        stack.integration.rows("SELECT 1 FROM reconciliations WHERE state = 'running'") == []
    )
