"""The stack on Docker Swarm, with two replicas of each service on one PostgreSQL."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from service_kit import VERSION
from tests.images.engine import NAMESPACE, attempt, run, until

STACK = "crmsys-test-swarm"

# Runs in a container of the stack's network, where the services have their names.
CALLER = """
import json, sys, time, urllib.request
crm, inventory = sys.argv[1:]
def ask(url, token, body=None):
    content = json.dumps(body).encode() if body else None
    headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
    request = urllib.request.Request(url, content, headers)
    return json.load(urllib.request.urlopen(request, timeout=10))
uids = []
for number in range(20):
    body = {"name": "Customer", "email": f"customer{number}@example.com"}
    uids.append(ask("http://crm_api:8000/api/customers", crm, body)["uid"])
give_up_at = time.monotonic() + 60
found = []
while len(found) < len(uids) and time.monotonic() < give_up_at:
    found = ask("http://inventory_api:8001/package-requests?limit=500", inventory)
    time.sleep(0.2)
assert sorted(one["customer_id"] for one in found) == sorted(uids), found
print("all served once")
"""


@pytest.fixture(scope="module")
def swarm(images: Path) -> Iterator[Path]:
    """Start the stack; take this engine out of the swarm only if it was brought in here."""
    state = run("docker", "info", "--format", "{{.Swarm.LocalNodeState}}").strip()
    if state == "inactive":
        run("docker", "swarm", "init", "--advertise-addr", "127.0.0.1")
    run("python3", "deploy/make_secrets.py", cwd=images)
    try:
        run(
            *("docker", "stack", "deploy", "--detach", "--resolve-image", "never"),
            *("-c", "deploy/swarm/stack.yml", STACK),
            cwd=images,
            NAMESPACE=NAMESPACE,
        )
        yield images
    finally:
        run("docker", "stack", "rm", STACK)
        shutil.rmtree(images / "secrets", ignore_errors=True)
        label = f"label=com.docker.stack.namespace={STACK}"
        until(lambda: not run("docker", "ps", "--all", "--quiet", "--filter", label))
        if state == "inactive":
            run("docker", "swarm", "leave", "--force")
        until(lambda: attempt("docker", "volume", "rm", f"{STACK}_postgres_data").returncode == 0)


def replicas() -> dict[str, str]:
    lines = run("docker", "stack", "services", "--format", "{{json .}}", STACK).splitlines()
    return {
        one["Name"].removeprefix(f"{STACK}_"): one["Replicas"] for one in map(json.loads, lines)
    }


def test_two_replicas_of_each_serve_every_customer_once(swarm: Path) -> None:
    wanted = {"crm_api": "2/2", "inventory_api": "2/2", "integration_service": "2/2"}
    until(lambda: replicas() == {**wanted, "postgres": "1/1"}, 180)

    tokens = {
        name: dict(pair.split(":") for pair in (swarm / "secrets" / name).read_text().split(","))
        for name in ("crm_api_tokens", "inventory_api_tokens")
    }
    told = run(
        *("docker", "run", "--rm", "--network", f"{STACK}_stack", f"{NAMESPACE}/crmsys:{VERSION}"),
        *("python", "-c", CALLER),
        *(tokens["crm_api_tokens"]["agent"], tokens["inventory_api_tokens"]["viewer"]),
    )

    assert told.strip() == "all served once"


def test_the_ports_for_callers_outside_fit_the_stack(swarm: Path) -> None:
    files = ["-c", "deploy/swarm/stack.yml", "-c", "deploy/swarm/ports.yml"]
    told = run("docker", "stack", "config", *files, cwd=swarm)

    assert told.count("endpoint_mode: vip") == 3
