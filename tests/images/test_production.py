"""The production overlay: what is promised of it, read back from the containers that run."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.engine import NAMESPACE, ask, attempt, inspect, run, served_by, until

PROJECT = "crmsys-test-prod"
FILES = ["-f", "docker-compose.yml", "-f", "docker-compose.prod.yml"]
COMPOSE = ["docker", "compose", "-p", PROJECT, *FILES]
SERVICES = ["crm_api", "inventory_api", "integration_service"]
LIMIT_IDLE_MIB = 90


@pytest.fixture(scope="module", params=["", "postgres"], ids=["sqlite", "postgres"])
def stack(request, images: Path, figures) -> Iterator[Path]:
    profile = {"COMPOSE_PROFILES": request.param, "NAMESPACE": NAMESPACE}
    run("python3", "deploy/make_secrets.py", cwd=images)
    try:
        begun = time.monotonic()
        run(*COMPOSE, "up", "--wait", cwd=images, **profile)
        name = f"three in a chain, start to healthy, {request.param or 'sqlite'}"
        figures[name] = f"{time.monotonic() - begun:.1f} s"
        yield images
    finally:
        # Secrets first: the profile decides which of the files are looked for.
        run(*COMPOSE, "down", "--volumes", cwd=images, COMPOSE_PROFILES="postgres")
        shutil.rmtree(images / "secrets", ignore_errors=True)


def secret(root: Path, name: str) -> str:
    return (root / "secrets" / name).read_text()


def token(root: Path, name: str, role: str) -> str:
    return dict(pair.split(":") for pair in secret(root, name).split(","))[role]


def test_a_customer_gets_a_package(stack: Path) -> None:
    agent = token(stack, "crm_api_tokens", "agent")
    clerk = token(stack, "inventory_api_tokens", "clerk")
    jane = {"name": "Jane Doe", "email": "jane@example.com"}
    status, customer = ask("http://127.0.0.1:8000/api/customers", token=agent, body=jane)
    assert status == 201
    url = f"http://127.0.0.1:8001/package-requests?customer_id={customer['uid']}"
    until(lambda: len(ask(url, token=clerk)[1]) == 1)


def test_no_demo_token_and_no_anonymous_caller_gets_in(stack: Path) -> None:
    url = "http://127.0.0.1:8000/api/customers"
    assert ask(url, token="agent123")[0] == 401
    assert ask(url, body={"name": "A", "email": "a@example.com"})[0] == 401


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_may_do_nothing_that_it_need_not(stack: Path, service: str) -> None:
    found = inspect(f"{PROJECT}-{service}-1")
    host = found["HostConfig"]

    assert found["Config"]["User"] == "1000:1000"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (512 * 2**20, 10**9, 128)
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["Init"] is True
    assert list(host["Tmpfs"]) == ["/tmp"]  # noqa: S108
    assert found["Config"]["Healthcheck"]["Test"][:2] == ["CMD", "python"]


@pytest.mark.parametrize("service", SERVICES)
def test_its_processes_say_the_same(stack: Path, service: str) -> None:
    name = f"{PROJECT}-{service}-1"
    look = f"for n in 1, {served_by(name)}: print(open(f'/proc/{{n}}/status').read())"
    status = run("docker", "exec", name, "python", "-c", look)

    assert status.count("Uid:\t1000\t1000\t1000\t1000") == 2
    assert status.count("CapEff:\t0000000000000000") == 2
    assert status.count("NoNewPrivs:\t1") == 2
    touch = attempt("docker", "exec", name, "python", "-c", "open('/opt/app/x', 'w')")
    assert "Read-only file system" in touch.stderr


def test_it_is_small_when_idle(stack: Path, figures) -> None:
    names = [f"{PROJECT}-{service}-1" for service in SERVICES]
    told = run("docker", "stats", "--no-stream", "--format", "{{json .}}", *names)
    for line in told.splitlines():
        one = json.loads(line)
        used, unit = (
            one["MemUsage"].split("/")[0].strip()[:-3],
            one["MemUsage"].split("/")[0][-4:-1],
        )
        figures[f"{one['Name']}, idle"] = f"{used} {unit}"
        assert unit == "MiB"
        assert float(used) <= LIMIT_IDLE_MIB


def test_a_secret_is_in_no_environment(stack: Path) -> None:
    for service in SERVICES:
        told = json.dumps(inspect(f"{PROJECT}-{service}-1"))
        assert (
            token(
                stack,
                f"{service.removesuffix('_service')}_tokens".replace(
                    "integration_tokens", "integration_api_tokens"
                ),
                "admin",
            )
            not in told
        )


def test_it_stops_at_once_and_in_peace(stack: Path, figures) -> None:
    for service in SERVICES:
        begun = time.monotonic()
        run(*COMPOSE, "stop", service, cwd=stack, NAMESPACE=NAMESPACE)
        figures[f"{service}, stop when idle"] = f"{time.monotonic() - begun:.1f} s"
        assert inspect(f"{PROJECT}-{service}-1")["State"]["ExitCode"] == 0
