"""Production under Compose: what is promised of it, read back from the containers that run."""

import json
import re
import shutil
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest

from service_kit import VERSION
from tests.conftest import ROOT
from tests.images.engine import NAMESPACE, attempt, inspect, run, served_by, until
from tests.upgrades.code import NEXT

PROJECT = "crmsys-test-prod"
COMPOSE = ["docker", "compose", "-f", "docker-compose.prod.yml"]
SERVICES = ["crm_api", "inventory_api", "integration_service"]
LIMIT_IDLE_MIB = 95
ACCOUNTS = ["postgres", "crm", "inventory", "integration"]
# Runs in the CRM's container: shows each account each password, and asks for each database.
TRY_ALL = """
import asyncio, asyncpg, json, sys
passwords = json.loads(sys.argv[1])
async def outcome(account, password, database):
    try:
        connection = await asyncpg.connect(
            host="postgres", user=account, password=password, database=database)
    except asyncpg.PostgresError as error:
        return type(error).__name__
    await connection.close()
    return "in"
async def main():
    print(json.dumps([
        [account, owner, database, await outcome(account, passwords[owner], database)]
        for account in passwords for owner in passwords for database in (*passwords, "template1")
    ]))
asyncio.run(main())
"""


def environment(profile: str) -> dict[str, str]:
    return {
        "COMPOSE_PROFILES": profile,
        "COMPOSE_PROJECT_NAME": PROJECT,
        "NAMESPACE": NAMESPACE,
    }


@cache
def commands() -> list[str]:
    """Give the commands that docs/docker.md prints for one machine in production."""
    text = (ROOT / "docs" / "docker.md").read_text()
    [block] = re.findall(
        r"```sh\n(python3 deploy/make_secrets.py\ndocker compose.*?)```", text, re.DOTALL
    )
    return str(block).splitlines()


@pytest.fixture(scope="module", params=["", "postgres"], ids=["sqlite", "postgres"])
def stack(request, images: Path, front_image: str, figures) -> Iterator[Path]:
    make_secrets, up, *_ = commands()
    run("bash", "-c", make_secrets, cwd=images)
    try:
        begun = time.monotonic()
        run("bash", "-c", up, cwd=images, **environment(request.param))
        name = f"three in a chain and the front, start to healthy, {request.param or 'sqlite'}"
        figures[name] = f"{time.monotonic() - begun:.1f} s"
        yield images
    finally:
        # Secrets first: the profile decides which of the files are looked for.
        run(*COMPOSE, "down", "--volumes", cwd=images, **environment("postgres"))
        shutil.rmtree(images / "secrets", ignore_errors=True)


def secret(root: Path, name: str) -> str:
    return (root / "secrets" / name).read_text()


def token(root: Path, name: str, role: str) -> str:
    return dict(pair.split(":") for pair in secret(root, name).split(","))[role]


def call(root: Path, url: str, *, token: str = "", **request: Any) -> httpx.Response:
    """Send a request to this machine under a name of the stack, as its callers do."""
    asked = httpx.URL(url)
    headers = {"Host": asked.host, **request.pop("headers", {})}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    trusted = ssl.create_default_context(cafile=root / "secrets" / "tls_ca")
    with httpx.Client(verify=trusted, trust_env=False, timeout=10) as client:
        return client.request(
            "POST" if "json" in request or "content" in request else "GET",
            asked.copy_with(host="127.0.0.1"),
            headers=headers,
            extensions={"sni_hostname": asked.host},
            **request,
        )


def test_a_customer_gets_a_package(stack: Path) -> None:
    agent = token(stack, "crm_api_tokens", "agent")
    jane = {"name": "Jane Doe", "email": "jane@example.com"}
    made = call(stack, "https://crm.localhost/api/customers", token=agent, json=jane)
    assert made.status_code == 201
    wait_for_package(stack, made.json()["uid"])


def test_a_token_that_the_crm_issues_opens_the_others(stack: Path) -> None:
    admin = token(stack, "crm_api_tokens", "admin")
    wanted = {"name": "operations", "role": "viewer"}
    issued = call(stack, "https://crm.localhost/api/tokens", token=admin, json=wanted).json()
    for url in ("https://inventory.localhost/me", "https://integration.localhost/me"):
        assert call(stack, url, token=issued["token"]).json()["name"] == "operations"


def test_no_demo_token_and_no_anonymous_caller_gets_in(stack: Path) -> None:
    url = "https://crm.localhost/api/customers"
    assert call(stack, url, token="agent123").status_code == 401
    assert call(stack, url, json={"name": "A", "email": "a@example.com"}).status_code == 401


def test_development_does_not_touch_what_serves_in_production(stack: Path) -> None:
    """Whoever forgets the file's name starts a project of its own; its volumes are others."""
    for files in (["-f", "docker-compose.yml"], []):
        told = json.loads(run("docker", "compose", *files, "config", "--format=json", cwd=stack))
        assert told["name"] == "crmsys-dev"
        assert told["volumes"]["crm_data"]["name"] == "crmsys-dev_crm_data"
    told = json.loads(run(*COMPOSE, "config", "--format=json", cwd=stack))
    assert told["volumes"]["crm_data"]["name"] == "crmsys_crm_data"


def test_who_names_both_files_as_before_gets_production(stack: Path) -> None:
    both = ["docker", "compose", "-f", "docker-compose.yml", *COMPOSE[2:]]
    for profile in ("", "postgres"):
        variables = {"NAMESPACE": NAMESPACE, "COMPOSE_PROFILES": profile}
        alone, over = (
            json.loads(run(*command, "config", "--format=json", cwd=stack, **variables))
            for command in (COMPOSE, both)
        )
        for part in ("name", "services", "networks", "volumes"):
            assert alone[part] == over[part]


@pytest.mark.parametrize("stack", [""], ids=["sqlite"], indirect=True)
@pytest.mark.parametrize("service", SERVICES)
def test_development_on_the_data_of_production_is_refused(stack: Path, service: str) -> None:
    once = ["run", "--rm", "--no-deps", "-T", service, "python", "-m", service, "serve"]
    done = attempt("docker", "compose", *once, cwd=stack, **environment(""))

    assert done.returncode == 2
    [told] = [line for line in done.stderr.splitlines() if line.startswith(f"{service}: ")]
    assert "it has served in production since" in told


def test_a_setting_in_the_environment_reaches_the_service(stack: Path) -> None:
    given = {"LEASE_SECONDS": "7", "WORKERS": "2", "ROUTES_FILE": "./some/routes.toml"}
    told = json.loads(run(*COMPOSE, "config", "--format=json", cwd=stack, **given))
    service = told["services"]["integration_service"]

    assert service["environment"]["LEASE_SECONDS"] == "7"
    assert service["environment"]["WORKERS"] == "2"
    assert service["environment"]["ROUTES_FILE"] == "/etc/crmsys/routes.toml"
    assert told["configs"]["routes_file"]["file"] == str(stack / "some" / "routes.toml")


def test_the_commands_are_right_as_printed(stack: Path) -> None:
    _, _, *asked = commands()

    assert asked
    for command in asked:
        assert run("bash", "-c", command, cwd=stack) == '{"status":"ok"}'


@pytest.mark.parametrize("name", ["crm", "inventory", "integration"])
def test_each_service_has_its_name(stack: Path, name: str) -> None:
    answer = call(stack, f"https://{name}.localhost/openapi.json")

    assert answer.json()["info"]["title"].startswith(name)
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    redirect = call(stack, f"http://{name}.localhost/status?a=b")
    assert redirect.status_code == 308
    assert redirect.headers["location"] == f"https://{name}.localhost/status?a=b"
    assert "strict-transport-security" not in redirect.headers


def test_another_name_leads_nowhere(stack: Path) -> None:
    assert call(stack, "http://other.localhost/").status_code == 421
    with pytest.raises(httpx.ConnectError, match="unrecognized name"):
        call(stack, "https://other.localhost/")


def test_an_older_tls_is_refused(stack: Path) -> None:
    old = ["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", "--cacert", "secrets/tls_ca"]
    done = attempt("curl", "-sS", *old, "https://crm.localhost/health", cwd=stack)

    assert done.returncode != 0
    assert "version" in done.stderr


def test_the_front_alone_has_ports_on_the_host(stack: Path) -> None:
    names = run("docker", "ps", "--filter", f"name={PROJECT}", "--format", "{{.Names}}").split()
    found = {name: inspect(name)["HostConfig"]["PortBindings"] or {} for name in names}

    assert {f"{PROJECT}-{service}-1" for service in SERVICES} <= set(found)
    front = found.pop(f"{PROJECT}-front-1")
    bound = {inside: [one["HostPort"] for one in outside] for inside, outside in front.items()}
    assert bound == {"8080/tcp": ["80"], "8443/tcp": ["443"]}
    assert not any(found.values())


def test_the_address_of_a_caller_is_not_what_the_caller_says(stack: Path) -> None:
    said = {"X-Forwarded-For": "192.0.2.7", "X-Request-ID": "who-calls"}
    url = "https://crm.localhost/api/customers"
    assert call(stack, url, token="no-such-token", headers=said).status_code == 401

    told = attempt("docker", "logs", f"{PROJECT}-crm_api-1").stderr
    [line] = [line for line in told.splitlines() if "who-calls" in line]
    [gateway] = inspect(f"{PROJECT}_front")["IPAM"]["Config"]
    assert f"from {gateway['Gateway']}" in line


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_a_body_has_the_size_that_the_services_allow(stack: Path, chunked: bool) -> None:
    agent = token(stack, "crm_api_tokens", "agent")
    for size, status in ((2**20, 422), (2**20 + 1, 413), (2**22, 413)):
        content = b" " * size
        answer = call(
            stack,
            "https://crm.localhost/api/customers",
            token=agent,
            content=iter([content]) if chunked else content,
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert "strict-transport-security" in answer.headers


def test_a_file_to_import_may_be_larger(stack: Path) -> None:
    admin = token(stack, "crm_api_tokens", "admin")
    for size, status in ((2**22, 422), (50 * 2**20, 422), (50 * 2**20 + 1, 413)):
        answer = call(
            stack,
            "https://crm.localhost/api/imports",
            token=admin,
            content=b" " * size,
            headers={"Content-Type": "text/csv"},
        )
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert ("52428800 bytes" in answer.json()["detail"]) == (status == 413)


def test_what_is_refused_before_its_body_is_read_is_told_so(stack: Path) -> None:
    url = "https://crm.localhost/api/customers"
    answers = [call(stack, url, token="no-token", content=b" " * 2**20) for _ in range(20)]

    # From some number on for how often it comes; never a 502 of the front.
    assert {answer.status_code for answer in answers} <= {401, 429}


def test_the_front_keeps_what_somebody_searches_for_to_itself(stack: Path) -> None:
    call(stack, "https://crm.localhost/api/customers?q=jane@example.com")
    told = run("docker", "logs", f"{PROJECT}-front-1")

    assert '"path":"/api/customers"' in told
    assert "jane" not in told


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_may_do_nothing_that_it_need_not(stack: Path, service: str) -> None:
    found = inspect(f"{PROJECT}-{service}-1")
    host = found["HostConfig"]

    assert_it_is_fenced_in(found)
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (512 * 2**20, 10**9, 128)
    assert found["Config"]["Healthcheck"]["Test"][:2] == ["CMD", "python"]


def test_the_front_may_do_nothing_that_it_need_not(stack: Path) -> None:
    found = inspect(f"{PROJECT}-front-1")
    host = found["HostConfig"]

    assert_it_is_fenced_in(found)
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (256 * 2**20, 10**9, 32)
    networks = set(found["NetworkSettings"]["Networks"])
    assert networks == {f"{PROJECT}_front"}, "it reaches the database"


def assert_it_is_fenced_in(found: dict[str, Any]) -> None:
    host = found["HostConfig"]
    assert found["Config"]["User"] == "1000:1000"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["Init"] is True
    assert list(host["Tmpfs"]) == ["/tmp"]  # noqa: S108


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
    names = [f"{PROJECT}-{service}-1" for service in (*SERVICES, "front")]
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
    names = run("docker", "ps", "--filter", f"name={PROJECT}", "--format", "{{.Names}}").split()
    told = json.dumps([inspect(name) for name in names])
    logs = [attempt("docker", "logs", name) for name in names]
    told += "".join(done.stdout + done.stderr for done in logs)
    for path in (stack / "secrets").iterdir():
        if not path.name.endswith((".sqlite", "tls_ca", "tls_certificate")):
            for part in re.split(r"[,:@/\n]", path.read_text()):
                assert len(part) < 20 or part not in told, path.name


@pytest.mark.parametrize("stack", ["postgres"], indirect=True)
def test_a_password_opens_its_account_and_that_its_database_alone(stack: Path) -> None:
    files = {name: f"{name}_postgres_password".removeprefix("postgres_") for name in ACCOUNTS}
    passwords = json.dumps({name: secret(stack, file) for name, file in files.items()})
    told = run(
        "docker", "exec", f"{PROJECT}-crm_api-1", "python", "-c", TRY_ALL, passwords, seconds=60
    )

    outcomes = json.loads(told)
    assert len(outcomes) == 4 * 4 * 5
    for account, owner, database, outcome in outcomes:
        if account != owner:
            assert outcome == "InvalidPasswordError", (account, owner)
        elif account in {"postgres", database}:
            assert outcome == "in", (account, database)
        else:
            assert outcome == "InsufficientPrivilegeError", (account, database)


def test_a_profile_that_leaves_the_services_on_their_files_is_refused(stack: Path) -> None:
    command = [*COMPOSE, "--profile", "postgres", "up", "--detach", "postgres"]
    done = attempt(*command, cwd=stack, **environment(""))

    assert done.returncode != 0
    assert '"set-COMPOSE_PROFILES-to-postgres" didn\'t complete successfully' in done.stderr


def test_the_next_release_and_back_lose_nobody(stack: Path, next_images: None) -> None:
    """There is one container of each, so whoever calls meanwhile has to call again."""
    profile = "postgres" if "postgres" in running_services(stack) else ""
    page = (ROOT / "docs" / "operations.md").read_text()
    [printed] = re.findall(r"\| Compose \| `VERSION=0.5.0 (docker compose [^`]+)`", page)
    added: list[str] = []
    with ThreadPoolExecutor(1) as caller:
        is_over = Event()
        calling = caller.submit(add_customers, stack, added, is_over)
        try:
            for version in (NEXT, VERSION):
                wait_for_more(added)
                run("bash", "-c", printed, cwd=stack, VERSION=version, **environment(profile))
                for name in ("crm", "inventory", "integration"):
                    until(partial(serves, stack, name, version))
        finally:
            is_over.set()
        calling.result(60)

    for uid in added:
        wait_for_package(stack, uid)


def serves(root: Path, name: str, version: str) -> bool:
    """Tell if this release answers: for some seconds the front still asks where the old one was."""
    answer = call(root, f"https://{name}.localhost/health/ready")
    return answer.status_code == 200 and answer.json()["version"] == version


def wait_for_more(added: list[str]) -> None:
    wanted = len(added) + 5
    until(lambda: len(added) >= wanted)


def wait_for_package(root: Path, uid: str) -> None:
    clerk = token(root, "inventory_api_tokens", "clerk")
    url = f"https://inventory.localhost/package-requests?customer_id={uid}"
    until(lambda: len(call(root, url, token=clerk).json()) == 1)


def running_services(root: Path) -> list[str]:
    shown = ["ps", "--services", "--status", "running"]
    return run(*COMPOSE, *shown, cwd=root, **environment("")).split()


def add_customers(root: Path, added: list[str], is_over: Event) -> None:
    """Add one after another, each by a key of its own, as often as it takes."""
    agent = token(root, "crm_api_tokens", "agent")
    while not is_over.is_set():
        key = f"next-{len(added)}"
        try:
            answer = call(
                root,
                "https://crm.localhost/api/customers",
                token=agent,
                json={"name": "Jane Doe", "email": f"{key}@example.com"},
                headers={"Idempotency-Key": key},
            )
        except httpx.TransportError:
            continue
        if answer.status_code not in {502, 503, 504}:
            assert answer.status_code == 201, answer.text
            added.append(answer.json()["uid"])
        is_over.wait(0.1)


def test_it_stops_at_once_and_in_peace(stack: Path, figures) -> None:
    for service in ("front", *SERVICES):
        begun = time.monotonic()
        run(*COMPOSE, "stop", service, cwd=stack, **environment(""))
        figures[f"{service}, stop when idle"] = f"{time.monotonic() - begun:.1f} s"
        assert inspect(f"{PROJECT}-{service}-1")["State"]["ExitCode"] == 0
