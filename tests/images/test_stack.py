"""The development stack, as a person starts it in a clean clone."""

import itertools
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service_kit import VERSION
from tests.images.engine import CERTIFICATE, ask, attempt, inspect, run, served_by, until

PROJECT = "crmsys-test"
COMPOSE = ["docker", "compose", "-p", PROJECT]
SERVICES = ["crm_api", "inventory_api", "integration_service"]
CRM, INVENTORY, INTEGRATION = (f"http://127.0.0.1:{port}" for port in (8000, 8001, 8002))
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def root(clone: Path) -> Iterator[Path]:
    try:
        yield clone
    finally:
        run(*COMPOSE, "down", "--volumes", cwd=clone)


@pytest.fixture(scope="module")
def stack(root: Path, figures: dict[str, str]) -> Path:
    begun = time.monotonic()
    run(*COMPOSE, "up", "--build", "--wait", cwd=root, seconds=500)
    figures["docker compose up --build --wait, clean clone"] = f"{time.monotonic() - begun:.1f} s"
    return root


def shell(command: str, root: Path) -> str:
    """Run a command as it is printed; its stack is the one of the tests."""
    return run("bash", "-c", command, cwd=root, COMPOSE_PROJECT_NAME=PROJECT)


def add_customer() -> str:
    """Add a customer, and give its uid."""
    number = next(NUMBERS)
    body = {"name": f"Customer {number}", "email": f"customer{number}@example.com"}
    until(lambda: ask(f"{CRM}/health")[0] == 200)
    status, customer = ask(f"{CRM}/customers", body=body)
    assert status == 201
    return str(customer["uid"])


def packages(uid: str) -> int:
    status, found = ask(f"{INVENTORY}/package-requests?customer_id={uid}")
    return len(found) if status == 200 else 0


def test_every_service_is_healthy(stack: Path) -> None:
    for service in SERVICES:
        assert inspect(f"{PROJECT}-{service}-1")["State"]["Health"]["Status"] == "healthy"


def test_the_commands_of_the_readme_work_as_printed(stack: Path) -> None:
    assert shell("curl -s http://localhost:8000/health", stack) == '{"status":"ok"}'
    first = 'curl -s -H "Authorization: Bearer agent123" http://localhost:8000/api/customers/1'
    assert '"name":"Jane Doe","email":"jane@example.com"' in shell(first, stack)
    added = shell(
        'curl -s -X POST "http://localhost:8000/customers" -H "Content-Type: application/json" '
        """-d '{"name": "Jane Doe", "email": "jane.doe@example.com"}'""",
        stack,
    )
    [uid] = re.findall(r'"uid":"([^"]+)"', added)
    until(lambda: uid in shell("curl -s http://localhost:8001/package-requests", stack), 10)


def test_pytest_passes_in_the_integration_container(stack: Path, figures) -> None:
    begun = time.monotonic()
    # As printed, less the terminal that a test has not.
    told = shell("docker compose exec -T integration_service pytest", stack)
    figures["docker compose exec integration_service pytest"] = f"{time.monotonic() - begun:.1f} s"

    assert re.search(r"=+ [1-9][0-9]* passed", told)


def test_nobody_is_lost_or_served_twice_when_containers_die(stack: Path) -> None:
    uids = [add_customer()]
    run("docker", "kill", "--signal=KILL", f"{PROJECT}-inventory_api-1")
    uids += [add_customer() for _ in range(5)]
    run("docker", "start", f"{PROJECT}-inventory_api-1")
    run("docker", "kill", "--signal=KILL", f"{PROJECT}-integration_service-1")
    uids += [add_customer() for _ in range(5)]
    run("docker", "start", f"{PROJECT}-integration_service-1")
    run(*COMPOSE, "restart", "crm_api", cwd=stack)
    uids.append(add_customer())

    for uid in uids:
        assert until(lambda one=uid: packages(one), 90) == 1


def test_a_process_that_dies_is_started_again(stack: Path) -> None:
    name = f"{PROJECT}-inventory_api-1"
    before = inspect(name)["RestartCount"]
    kill = f"import os; os.kill({served_by(name)}, 9)"
    # The container ends with the process, at times before the command in it has ended well.
    attempt("docker", "exec", name, "python", "-c", kill)

    until(lambda: inspect(name)["RestartCount"] > before)
    until(lambda: ask(f"{INVENTORY}/health")[0] == 200)


def test_an_edit_is_live_within_seconds(stack: Path, figures) -> None:
    source = stack / "crm_api" / "app.py"
    text = source.read_text()
    watch = subprocess.Popen(
        [*COMPOSE, "watch", "--no-up"],
        cwd=stack,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert watch.stdout is not None
        until(lambda: "Watch enabled" in watch.stdout.readline())
        source.write_text(text.replace('DESCRIPTION = """', 'DESCRIPTION = """Edited. '))
        assert source.read_text() != text
        begun = time.monotonic()
        until(lambda: "Edited." in str(ask(f"{CRM}/openapi.json")[1]))
        figures["an edit is live under docker compose watch"] = f"{time.monotonic() - begun:.1f} s"
    finally:
        source.write_text(text)
        watch.send_signal(signal.SIGINT)
        watch.communicate(timeout=30)


def test_the_data_outlives_the_containers(stack: Path) -> None:
    uid = add_customer()
    until(lambda: packages(uid))
    run(*COMPOSE, "down", cwd=stack)
    run(*COMPOSE, "up", "--wait", cwd=stack)

    status, customer = ask(f"{CRM}/api/customers/{uid}", token="agent123")
    assert (status, customer["uid"], packages(uid)) == (200, uid, 1)


def test_the_crm_alone_is_built_and_run_as_printed(root: Path) -> None:
    run(*COMPOSE, "down", cwd=root)
    secret = ["--secret", f"id=ca,src={CERTIFICATE}"] if CERTIFICATE else []
    image = f"cordn29/crmsys:{VERSION}"
    run("docker", "build", "-t", image, *secret, ".", cwd=root)
    container = run("docker", "run", "--detach", "-p", "8000:8000", image).strip()
    try:
        until(lambda: ask(f"{CRM}/health")[0] == 200)
        status, jane = ask(f"{CRM}/api/customers/1", token="agent123")
        assert (status, jane["name"]) == (200, "Jane Doe")
        until(lambda: inspect(container)["State"]["Health"]["Status"] == "healthy")
    finally:
        attempt("docker", "rm", "--force", container)
