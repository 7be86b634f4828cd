"""The code of other releases: a synthetic next one, and real ones before this."""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from service_kit import VERSION
from tests.conftest import ROOT, SERVICES
from tests.system.planting import Change, copy_of_the_code

NEXT = "9.0.0"
# What one may do to a schema under a running release: nullable columns and such with a default,
# tables, indexes; and a text that may be longer, which on PostgreSQL outdates prepared statements.
ADDITIVE = {
    "crm_api": """
op.add_column("customers", sa.Column("nickname", sa.String(50)))
op.add_column("events", sa.Column("weight", BigInt, nullable=False, server_default="0"))
op.create_table("visits", sa.Column("id", BigInt, primary_key=True))
if op.get_context().dialect.name == "postgresql":
    op.alter_column("customers", "name", type_=sa.String(300))
""",
    "inventory_api": """
op.add_column("package_requests", sa.Column("carrier", sa.String(50)))
op.create_index("ix_package_requests_carrier", "package_requests", ["carrier"])
if op.get_context().dialect.name == "postgresql":
    op.alter_column("package_requests", "customer_name", type_=sa.String(300))
""",
    "integration_service": """
op.add_column("deliveries", sa.Column("weight", BigInt, nullable=False, server_default="0"))
if op.get_context().dialect.name == "postgresql":
    op.alter_column("deliveries", "customer_name", type_=sa.String(300))
""",
}
_MIGRATION = '''"""What the next release needs."""

import sqlalchemy as sa
from alembic import op

from service_kit.database.types import BigInt

revision = "{revision}"
down_revision = "{head}"
{declared}

def upgrade() -> None:
    """It begins here."""
'''


def next_release(folder: Path, upgrades: Mapping[str, str]) -> Path:
    """Copy today's code as the next release: a migration more for each service that is given.

    Each says that today's release can run on it.
    """
    version = Change("service_kit/__init__.py", f'"{VERSION}"', f'"{NEXT}"')
    copy_of_the_code(folder, [version])
    for service, statements in upgrades.items():
        add_migration(
            folder / service / "migrations", SERVICES[service].migrations().head, statements
        )
    return folder


def add_migration(folder: Path, head: str, statements: str, *, declares: bool = True) -> None:
    """Add a migration that says that the release before can run on it, or says nothing."""
    revision = f"{int(head) + 1:04}"
    declared = f'compatible_with = "{head}"\n' if declares else ""
    body = "".join(f"    {line}\n" for line in statements.strip().splitlines())
    text = _MIGRATION.format(revision=revision, head=head, declared=declared) + body
    (folder / f"{revision}_next.py").write_text(text)


class NoHistory(Exception):
    """The history doesn't reach back to the code that is asked for, as in a shallow clone."""


def code_before(migration: Path, folder: Path) -> Path:
    """Get the code as it was before a migration was added to it. Raises NoHistory."""
    name = migration.relative_to(ROOT).as_posix()
    # Of a merge, what it brought.
    log = ("log", "--first-parent", "--diff-merges=first-parent", "--diff-filter=A")
    if not (added := _git(*log, "--format=%H", "--", name).decode().split()):
        raise NoHistory(f"it does not tell when {name} came")
    with tarfile.open(fileobj=io.BytesIO(_git("archive", f"{added[0]}^"))) as archive:
        archive.extractall(folder, filter="data")
    return with_walk(folder)


def with_walk(folder: Path) -> Path:
    """Put what walks through its tables into a copy of the code."""
    for name in ("upgrades/walk.py", "copies/values.py"):
        (folder / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / name, folder / "tests" / name)
    return folder


def _git(*arguments: str) -> bytes:
    ran = subprocess.run(
        ["git", *arguments],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    if ran.returncode != 0:
        raise NoHistory(ran.stderr.decode())
    return ran.stdout
