"""The accounts of one PostgreSQL for three services, on a server that asks for their passwords."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest

from deploy import make_secrets
from tests.conftest import ROOT, run_sql, start_postgres

SERVICES = ("crm", "inventory", "integration")
ROLES = ("postgres", *SERVICES)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.engine("sqlite"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on this machine"),
]


class Server(NamedTuple):
    socket: str
    passwords: dict[str, str]

    async def connect(self, role: str, password: str, database: str) -> str:
        """Connect, and give the role that the server knows the connection by."""
        connection = await asyncpg.connect(
            host=self.socket, user=role, password=password, database=database
        )
        try:
            return str(await connection.fetchval("SELECT current_user"))
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def server(database_folder: Path) -> Iterator[Server]:
    """A server whose accounts were made, and made again with another password for the CRM's."""
    secrets = database_folder / "secrets"
    make_secrets.main([str(secrets), "--domain", "test"])
    running = start_postgres(database_folder / "accounts")
    socket = running.get_postmaster_info().socket_dir
    assert socket is not None
    make_databases(running.bin_path, socket, secrets)
    (secrets / "crm_postgres_password").unlink()
    (secrets / "crm_postgres_password").write_text("another-one")
    make_databases(running.bin_path, socket, secrets)

    passwords = {role: password(secrets, role) for role in ROLES}
    run_sql(running.get_uri(), f"ALTER ROLE postgres PASSWORD '{passwords['postgres']}'")
    rules = running.pgdata / "pg_hba.conf"
    rules.write_text("local all all scram-sha-256\n")
    run_sql(running.get_uri(), "SELECT pg_reload_conf()")
    yield Server(str(socket), passwords)
    running.cleanup()


def make_databases(programs: Path, socket: Path, secrets: Path) -> None:
    """Run the script as the server's container does."""
    path = f"{programs}:{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", ROOT / "deploy" / "postgres" / "databases.sh"],
        env={"PATH": path, "PGHOST": str(socket), "PASSWORDS": str(secrets)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def password(secrets: Path, role: str) -> str:
    name = "postgres_password" if role == "postgres" else f"{role}_postgres_password"
    return (secrets / name).read_text()


async def test_each_password_opens_one_account(server: Server) -> None:
    assert len(set(server.passwords.values())) == 4
    for role in ROLES:
        own = "postgres" if role == "postgres" else role
        for owner, given in server.passwords.items():
            if owner == role:
                assert await server.connect(role, given, own) == role
                continue
            with pytest.raises(asyncpg.InvalidPasswordError):
                await server.connect(role, given, own)


@pytest.mark.parametrize("role", SERVICES)
async def test_an_account_reaches_its_own_database_alone(server: Server, role: str) -> None:
    for database in {*ROLES, "template1"} - {role}:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            await server.connect(role, server.passwords[role], database)


async def test_a_password_is_kept_as_scram(server: Server) -> None:
    connection = await asyncpg.connect(
        host=server.socket, user="postgres", password=server.passwords["postgres"]
    )
    rows = await connection.fetch("SELECT rolpassword, rolsuper, rolname FROM pg_authid")
    await connection.close()

    kept = {row["rolname"]: row for row in rows if row["rolname"] in ROLES}
    assert set(kept) == set(ROLES)
    for role, row in kept.items():
        assert row["rolpassword"].startswith("SCRAM-SHA-256$")
        assert row["rolsuper"] is (role == "postgres")


def test_without_its_password_no_account_is_made(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", ROOT / "deploy" / "postgres" / "databases.sh"],
        env={"PATH": os.environ["PATH"], "PASSWORDS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert "crm_postgres_password" in done.stderr
