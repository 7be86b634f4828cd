"""The stack on Docker Swarm, with three replicas of each service on one PostgreSQL."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service_kit import VERSION
from tests.images.engine import IMAGES, NAMESPACE, attempt, run, until
from tests.upgrades.code import NEXT

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


# Registers customers and looks at each until it is ended, then waits for their packages and tells
# what it met. What a replica that goes cuts off is sent again by the same key, as any client may.
LOAD = """
import json, signal, sys, time, urllib.error, urllib.request
from collections import Counter
crm, inventory = sys.argv[1:]
over = []
signal.signal(signal.SIGTERM, lambda *_: over.append(True))
errors, uids, again = [], [], 0
def ask(url, token, body=None, **headers):
    global again
    content = json.dumps(body).encode() if body else None
    headers |= {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
    for attempt in range(4):
        try:
            request = urllib.request.Request(url, content, headers)
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.load(answer), answer.headers["Link"]
        except urllib.error.HTTPError as error:
            errors.append(f"{url}: {error.code} {error.read()[:200]}")
            raise
        except OSError as error:
            cause = error
            again += 1
            time.sleep(0.2)
    errors.append(f"{url}: {cause!r}")
    raise cause
while not over:
    key = f"load-{len(uids)}"
    body = {"name": "Customer", "email": f"{key}@example.com"}
    try:
        made, _ = ask("http://crm_api:8000/api/customers", crm, body, **{"Idempotency-Key": key})
        uids.append(made["uid"])
        ask(f"http://crm_api:8000/api/customers/{made['uid']}", crm)
        ask("http://inventory_api:8001/package-requests?limit=5", inventory)
    except OSError:
        pass
    time.sleep(0.1)
def packages():
    found, url = Counter(), "http://inventory_api:8001/package-requests?limit=500"
    while url:
        page, link = ask(url, inventory)
        found.update(one["customer_id"] for one in page)
        url = link.partition(">")[0].lstrip("<") if link and 'rel="next"' in link else None
        if url and url.startswith("/"):
            url = "http://inventory_api:8001" + url
    return found
give_up_at = time.monotonic() + 60
while (found := packages()).keys() < set(uids) and time.monotonic() < give_up_at:
    time.sleep(0.5)
print(json.dumps({
    "registered": len(uids), "again": again, "errors": errors[:20],
    "missing": [uid for uid in uids if uid not in found],
    "double": [uid for uid, count in found.items() if count > 1],
}))
"""


@pytest.fixture(scope="module")
def swarm(images: Path) -> Iterator[Path]:
    """Start the stack; take this engine out of the swarm only if it was brought in here."""
    state = run("docker", "info", "--format", "{{.Swarm.LocalNodeState}}").strip()
    if state == "inactive":
        run("docker", "swarm", "init", "--advertise-addr", "127.0.0.1")
    run("python3", "deploy/make_secrets.py", cwd=images)
    try:
        deploy(images, VERSION)
        yield images
    finally:
        run("docker", "stack", "rm", STACK)
        shutil.rmtree(images / "secrets", ignore_errors=True)
        label = f"label=com.docker.stack.namespace={STACK}"
        until(lambda: not run("docker", "ps", "--all", "--quiet", "--filter", label))
        if state == "inactive":
            run("docker", "swarm", "leave", "--force")
        until(lambda: attempt("docker", "volume", "rm", f"{STACK}_postgres_data").returncode == 0)


def deploy(folder: Path, version: str) -> None:
    run(
        *("docker", "stack", "deploy", "--detach", "--resolve-image", "never"),
        *("-c", "deploy/swarm/stack.yml", STACK),
        cwd=folder,
        NAMESPACE=NAMESPACE,
        STACK=STACK,
        VERSION=version,
    )


def replicas() -> dict[str, str]:
    lines = run("docker", "stack", "services", "--format", "{{json .}}", STACK).splitlines()
    return {
        one["Name"].removeprefix(f"{STACK}_"): one["Replicas"] for one in map(json.loads, lines)
    }


def wait_for_replicas() -> None:
    wanted = dict.fromkeys(IMAGES, "3/3")
    until(lambda: replicas() == {**wanted, "postgres": "1/1"}, 180)


def in_the_network(swarm: Path, script: str, *options: str) -> list[str]:
    """Build the command that runs a script in the stack's network, with the tokens it needs."""
    tokens = {
        name: dict(pair.split(":") for pair in (swarm / "secrets" / name).read_text().split(","))
        for name in ("crm_api_tokens", "inventory_api_tokens")
    }
    return [
        *("docker", "run", "--init", "--network", f"{STACK}_stack", *options),
        *(f"{NAMESPACE}/crmsys:{VERSION}", "python", "-c", script),
        *(tokens["crm_api_tokens"]["agent"], tokens["inventory_api_tokens"]["viewer"]),
    ]


@contextmanager
def load(swarm: Path) -> Iterator[dict[str, Any]]:
    """Have a caller go on meanwhile. What it met is there afterwards."""
    met: dict[str, Any] = {}
    caller = run(*in_the_network(swarm, LOAD, "--detach")).strip()
    try:
        yield met
        run("docker", "kill", "--signal", "TERM", caller)
        run("docker", "wait", caller)
        met |= json.loads(run("docker", "logs", caller))
    finally:
        run("docker", "rm", "--force", caller)


def updates() -> dict[str, str]:
    """Tell of each service what its last update has come to, and the tag that it is to run."""
    shown = "{{.UpdateStatus.State}} {{.Spec.TaskTemplate.ContainerSpec.Image}}"
    told = {
        service: run("docker", "service", "inspect", "--format", shown, f"{STACK}_{service}")
        for service in IMAGES
    }
    return {
        service: f"{state.split()[0]} {state.strip().rpartition(':')[2]}"
        for service, state in told.items()
    }


def test_three_replicas_of_each_serve_every_customer_once(swarm: Path) -> None:
    wait_for_replicas()

    told = run(*in_the_network(swarm, CALLER, "--rm"))

    assert told.strip() == "all served once"


@pytest.mark.timeout(900)
def test_rolled_to_the_next_release_and_back_it_costs_nobody_an_error(
    swarm: Path, next_images: None, figures: dict[str, str]
) -> None:
    wait_for_replicas()
    with load(swarm) as met:
        deploy(swarm, NEXT)
        until(lambda: updates() == dict.fromkeys(IMAGES, f"completed {NEXT}"), 300)
        for service in IMAGES:
            run("docker", "service", "rollback", "--detach", f"{STACK}_{service}")
        until(lambda: updates() == dict.fromkeys(IMAGES, f"rollback_completed {VERSION}"), 300)

    figures["Swarm, rolled and back: customers, connections cut"] = (
        f"{met['registered']}, {met['again']}"
    )
    assert met["registered"] > 100
    assert {name: met[name] for name in ("errors", "missing", "double")} == {
        "errors": [],
        "missing": [],
        "double": [],
    }


def test_the_ports_for_callers_outside_fit_the_stack(swarm: Path) -> None:
    files = ["-c", "deploy/swarm/stack.yml", "-c", "deploy/swarm/ports.yml"]
    told = run("docker", "stack", "config", *files, cwd=swarm)

    assert told.count("endpoint_mode: vip") == 3
