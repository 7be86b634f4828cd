"""What docs/operations.md prints about more than one machine, run as it is printed."""

import re
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_sql, with_database
from tests.machines.commands import run
from tests.machines.conftest import StartCluster
from tests.machines.pgbouncer import pgbouncer, program
from tests.system.processes import bare_environment, until

pytestmark = pytest.mark.timeout(300)

PAGE = (ROOT / "docs" / "operations.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if not line.startswith("export ")
]
[CONFIGURATION] = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)


def test_every_command_does_what_the_page_says(start_cluster: StartCluster, tmp_path: Path) -> None:
    if program() is None:
        pytest.skip("there is no pgbouncer on this machine")
    cluster = start_cluster(is_synchronous=False)
    done: set[str] = set()
    named = {"PRIMARY": cluster.primary.url, "STANDBY": cluster.standby.url}
    path = {"PATH": f"{cluster.binaries}:{bare_environment()['PATH']}"}

    def do(word: str) -> None:
        """Run the next commands that have this word."""
        for command in COMMANDS:
            if word in command and command not in done:
                ran = subprocess.run(
                    ["/bin/bash", "-c", command],
                    env=bare_environment() | named | path,
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=False,
                )
                assert ran.returncode == 0, f"{command}:\n{ran.stderr}"
                done.add(command)

    with pgbouncer(cluster.primary.url) as bouncer:
        settings = ConfigParser()
        settings.read_string(CONFIGURATION)
        bouncer.restart(**settings["pgbouncer"])
        run_sql(cluster.primary.url, "CREATE DATABASE crm")
        direct = with_database(cluster.primary.url, "crm")
        pooled = {"DATABASE_URL": bouncer.url(direct)}
        backup = str(tmp_path / "crm-backup.db")
        for command in ("migrate", f"backup {backup}"):
            ran = run("crm_api", *command.split(), **pooled)
            assert ran.returncode == 0, ran.stderr
        past_it = pooled | {"DATABASE_DIRECT_URL": direct}
        refused = run("crm_api", "restore", backup, **past_it)
        assert "the database is in use" in refused.stderr
        named["PGBOUNCER"] = bouncer.url("postgresql:///pgbouncer")
        do("$PGBOUNCER")
        restored = run("crm_api", "restore", backup, **past_it)
        assert restored.returncode == 0, restored.stderr

    do('"$PRIMARY" -c "ALTER')
    until(cluster.is_synchronous, "the primary waits for its standby")
    do("pg_stat_replication")
    cluster.primary.kill()
    do("$STANDBY")
    named["PRIMARY"] = named["STANDBY"]
    until(lambda: not cluster.standby.is_standby(), "it is promoted")
    do("pg_stat_activity")
    run_sql(cluster.standby.url, "CREATE TABLE it_takes_writes ()")
    assert done == set(COMMANDS)
