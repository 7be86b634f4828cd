"""The CRM is put back to a backup by its own command, and the platform heals without hands."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_sql, with_database
from tests.sweeps import ENGINES, sample
from tests.system.processes import bare_environment, until
from tests.system.stack import Server, Stack


def command(server: Server, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command of a service, as an operator does."""
    return subprocess.run(
        [sys.executable, "-m", server.service, *arguments],
        cwd=ROOT,
        env=bare_environment() | {"DATABASE_URL": server.database_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.long
@pytest.mark.sweep
@pytest.mark.engine(*sample(ENGINES, every=2, first=1))
def test_a_restored_crm_gives_nothing_out_twice_and_everybody_has_one_package(
    stack: Stack, tmp_path: Path
) -> None:
    stack.start()
    stack.add_customers(3)
    stack.wait_until_quiet()
    copy = tmp_path / "crm.backup"
    backup = command(stack.crm, "backup", copy)
    assert backup.returncode == 0, backup.stderr
    stack.add_customers(2)
    stack.wait_until_quiet()
    lost = {uid for (uid,) in stack.crm.rows("SELECT uid FROM customers WHERE id > 3")}
    given = {number for (number,) in stack.crm.rows("SELECT id FROM customers")}
    positions = {number for (number,) in stack.crm.rows("SELECT position FROM events")}
    refused = command(stack.crm, "restore", copy)
    assert (refused.returncode, "is in use" in refused.stderr) == (1, True), refused.stderr

    stack.crm.end(signal.SIGTERM)
    stack.crm.disconnect()
    restored = command(stack.crm, "restore", copy)
    assert restored.returncode == 0, restored.stderr
    stack.crm.restart()

    recovered = "SELECT 1 FROM poller WHERE recoveries = 1 AND feed_state = 'running'"
    until(lambda: stack.integration.rows(recovered), "the integration recovers")
    stack.add_customers(2)
    stack.wait_until_quiet()
    verdict = stack.verdict()
    # The two who were lost have their packages, and nobody has a second one.
    assert set(verdict.phantom) == lost
    assert (verdict.missing, verdict.double, verdict.undelivered) == ([], [], [])
    assert (verdict.damage, verdict.bugs) == ([], [])
    new = {number for (number,) in stack.crm.rows("SELECT id FROM customers WHERE id > 1000")}
    assert len(new) == 2
    assert not new & given
    numbered = {number for (number,) in stack.crm.rows("SELECT position FROM events")}
    assert not {number for number in numbered if number > 3} & positions
    again = command(stack.crm, "backup", copy)
    checked = command(stack.crm, "verify", copy)
    assert (again.returncode, checked.returncode) == (0, 0), checked.stdout
    assert f"{os.fspath(copy)}: whole; " in checked.stdout


@pytest.mark.sweep
@pytest.mark.engine(*sample(ENGINES, every=2))
def test_a_service_that_serves_keeps_its_database_from_being_moved(stack: Stack) -> None:
    stack.inventory.restart()
    other = "sqlite:///other.db" if not stack.inventory.uses_sqlite else "postgresql://x@[::1]:1/x"

    refused = command(stack.inventory, "move", "--to", other)

    assert (refused.returncode, "is in use" in refused.stderr) == (1, True), refused.stderr
    assert stack.inventory.is_ready()


@pytest.mark.long
@pytest.mark.engine("sqlite")
def test_a_service_does_not_start_where_it_was_moved_from(
    stack: Stack, postgres_server: str
) -> None:
    crm = stack.crm
    run_sql(postgres_server, "CREATE DATABASE moved_crm")
    place = with_database(postgres_server, "moved_crm")
    moved = command(crm, "move", "--to", place)
    assert moved.returncode == 0, moved.stderr

    crm.start()
    until(lambda: crm.is_dead, "it refuses to start")

    assert crm.process is not None
    assert crm.process.poll() == 2
    [line] = crm.logged().splitlines()
    assert line.startswith("crm_api: the database can't be used: It was moved to postgresql://")
    crm.database_url = place
    crm.restart()
    stack.add_customers(1)
    assert stack.answered() == 1
