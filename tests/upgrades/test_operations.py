"""Upgrading and rolling back as docs/operations.md prints it, with a next release that is there."""

import re
import shutil
from pathlib import Path

import pytest

from service_kit.database.migrations import Migrations
from tests.conftest import ROOT, SERVICES
from tests.sweeps import ENGINES
from tests.system.processes import Nursery, bare_environment
from tests.system.stack import Stack
from tests.upgrades.code import NEXT, add_migration
from tests.upgrades.conftest import EmptyDatabase

PAGE = (ROOT / "docs" / "operations.md").read_text()
NUMBERS = re.compile(r"[0-9][0-9.]*[0-9]")


def section(title: str) -> str:
    [found] = re.findall(rf"^## {title}\n(.*?)(?=^#)", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


def commands(title: str, verb: str) -> list[str]:
    """Give what the section prints for the three services."""
    blocks = re.findall(r"```sh\n(.*?)```", section(title), re.DOTALL)
    found = [line for line in "".join(blocks).splitlines() if f" {verb}" in line]
    assert len(found) == len(SERVICES)
    return found


def printed(title: str) -> list[str]:
    """Give what the section says a command prints, with any number in place of its own."""
    return [
        NUMBERS.sub("9", text)
        for text in re.findall(r"```text\n(.*?)\n```", section(title), re.DOTALL)
    ]


def run_all(title: str, verb: str, nursery: Nursery, stack: Stack, folder: Path) -> list[str]:
    """Run the section's command for each service. Returns what each said, behind its exit code."""
    said = []
    for command in commands(title, verb):
        url = stack.server(command.split()[2]).database_url
        code, output = nursery.run(command, bare_environment() | {"DATABASE_URL": url}, folder)
        said.append(f"{code} {output}")
    return said


def replace(stack: Stack, nursery: Nursery) -> None:
    for server in stack.servers:
        server.end()
        server.nursery = nursery
        server.start()
    stack.wait_until_ready()


def versions(stack: Stack) -> list[str]:
    """Ask for them as the section does."""
    addresses = {
        "$CRM": stack.crm,
        "$INVENTORY": stack.inventory,
        "$INTEGRATION": stack.integration,
    }
    asked = [command.split()[-1].split("/", 1) for command in commands("Upgrade", "-fsS")]
    answers = [stack.client.get(f"{addresses[name].url}/{path}") for name, path in asked]
    return [answer.json()["version"] for answer in answers]


def break_it(service: str, url: str, folder: Path) -> None:
    """Migrate further, in a way that no older release can run on."""
    newer = folder / f"{service}-newer"
    shutil.copytree(SERVICES[service].migrations().folder, newer)
    for _ in range(2):
        add_migration(newer, Migrations(service, newer).head, "pass", declares=False)
    Migrations(service, newer).upgrade(url)


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize("engine", ENGINES, indirect=True)
def test_upgrade_and_roll_back_as_the_page_says(
    stack: Stack,
    nursery: Nursery,
    next_nursery: Nursery,
    without_tables: EmptyDatabase,
    tmp_path: Path,
) -> None:
    can_run, can_not_run = printed("Roll back")
    stack.start()
    stack.add_customers(2)
    stack.wait_until_quiet()
    run_all("Back up", "backup", nursery, stack, tmp_path)

    migrated = run_all("Upgrade", "migrate", next_nursery, stack, tmp_path)
    replace(stack, next_nursery)
    assert all(said.startswith("0 INFO: Migrated the database from ") for said in migrated)
    assert versions(stack) == [NEXT] * 3
    stack.add_customers(1)

    allowed = run_all("Roll back", "migrate", nursery, stack, tmp_path)
    assert all(f"0 INFO: {can_run} [" in said[:2] + NUMBERS.sub("9", said[2:]) for said in allowed)
    replace(stack, nursery)
    stack.add_customers(1)
    stack.wait_until_quiet()
    stack.check()

    for server in stack.servers:
        server.end()
        break_it(server.service, server.database_url, tmp_path)
    refused = run_all("Roll back", "migrate", nursery, stack, tmp_path)
    assert all(said.startswith("2 ") and can_not_run in NUMBERS.sub("9", said) for said in refused)
    for server in stack.servers:
        server.disconnect()
        if not server.uses_sqlite:
            server.database_url = without_tables(server.service)
    restored = run_all("Restore", "restore", nursery, stack, tmp_path)
    assert all("Restored as of " in said for said in restored)
    stack.start()
    stack.add_customers(1)
    stack.wait_until_quiet()
    customers = stack.crm.rows("SELECT uid FROM customers ORDER BY uid")
    packages = "SELECT customer_id FROM package_requests ORDER BY customer_id"
    assert len(customers) == 3
    assert stack.inventory.rows(packages) == customers
    assert stack.bugs() == []
