"""What docs/operations.md says of production, run as printed: the checklist, and a rotation."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from deploy import make_secrets
from tests.conftest import ROOT, bearer
from tests.system.pages import OPERATIONS, commands_in, section
from tests.system.processes import bare_environment, until
from tests.system.stack import Server, Stack, Verdict

CHECKLIST = commands_in(section(OPERATIONS, "Before you go into production"))
ROTATION = commands_in(section(OPERATIONS, "Rotate tokens"))
# What a service says whose token another one has refused.
REFUSED = re.compile(r"can't be used")

pytestmark = [
    pytest.mark.long,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.engine("sqlite"),
    pytest.mark.skipif(not Path("/usr/bin/openssl").exists(), reason="no openssl here"),
]


class Production:
    """A stack whose secrets are files, as a deployment has them."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.secrets = folder / "secrets"
        (folder / "deploy").symlink_to(ROOT / "deploy")
        make_secrets.main([str(self.secrets)])
        for server in stack.servers:
            server.environment |= {"ENVIRONMENT": "production", "ALLOWED_HOSTS": "127.0.0.1"}
        for server in stack.servers[1:]:
            introspection = f"{stack.crm.url}/api/tokens/introspect"
            server.environment["TOKEN_INTROSPECTION_URL"] = introspection

    def token(self, service: str, role: str) -> str:
        """Return the newest token of a role."""
        entries = (self.secrets / f"{service}_api_tokens").read_text().split(",")
        return [one.partition(":")[2] for one in entries if one.startswith(f"{role}:")][-1]

    def start(self, *servers: Server) -> None:
        """Start these anew, each with the secrets as they are now."""
        links = {
            name.upper(): (self.secrets / name).read_text()
            for name in ("crm_api_token", "inventory_api_token")
        }
        links["TOKEN_INTROSPECTION_TOKEN"] = links["CRM_API_TOKEN"]
        for server in servers:
            if server.process is not None:
                server.end(signal.SIGTERM)
            own = (self.secrets / f"{server.service.split('_')[0]}_api_tokens").read_text()
            used = {"crm_api": (), "inventory_api": ("TOKEN_INTROSPECTION_TOKEN",)}
            shown = {name: links[name] for name in used.get(server.service, links)}
            server.restart(API_TOKENS=own, **shown)

    def run(self, command: str, **environment: str) -> None:
        """Run a command as it is printed; it has to end with 0."""
        path = f"{Path(sys.executable).parent}:{bare_environment()['PATH']}"
        service = command.split()[2] if command.startswith("python -m ") else "integration_service"
        server = self.stack.server(service)
        addresses = {one.service.split("_")[0].upper(): one.url for one in self.stack.servers}
        own = server.environment | {"DATABASE_URL": server.database_url} | addresses
        ran = subprocess.run(
            ["/bin/bash", "-c", command],
            env=bare_environment() | own | environment | {"PATH": path, "PYTHONPATH": str(ROOT)},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, f"{command}:\n{ran.stdout}{ran.stderr}"

    def issue(self, name: str, role: str) -> tuple[str, int]:
        """Have the CRM issue a token. Returns its text and its id."""
        answer = httpx.post(
            f"{self.stack.crm.url}/api/tokens",
            json={"name": name, "role": role},
            headers=bearer(self.token("crm", "admin")),
        )
        assert answer.status_code == 201, answer.text
        return answer.json()["token"], answer.json()["id"]


@pytest.fixture
def production(stack: Stack, tmp_path: Path) -> Production:
    production = Production(stack, tmp_path)
    production.start(*stack.servers)
    return production


class Load:
    """A caller who registers customers all the time, and is never refused."""

    def __init__(self, production: Production) -> None:
        self._production = production
        self._stopping = threading.Event()
        self.token = production.token("crm", "agent")
        self.answers: list[int] = []

    def run(self) -> None:
        number = 0
        with httpx.Client(base_url=self._production.stack.crm.url, trust_env=False) as client:
            while not self._stopping.wait(0.05):
                number += 1
                email = f"customer{number}@example.com"
                body = {"name": "Jane Doe", "email": email}
                headers = bearer(self.token) | {"Idempotency-Key": email}
                self._production.stack.outcomes[email] = "unknown"
                while (status := self._post(client, body, headers)) is None:
                    if self._stopping.wait(0.05):
                        return
                self.answers.append(status)
                self._production.stack.outcomes[email] = "ok"

    @staticmethod
    def _post(client: httpx.Client, body: dict[str, str], headers: dict[str, str]) -> int | None:
        """Return the status of the answer; None while the CRM is being started again."""
        with suppress(httpx.TransportError):
            answer = client.post("/api/customers", json=body, headers=headers)
            return None if answer.status_code == 503 else answer.status_code
        return None

    @contextmanager
    def going_on(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
            seen = len(self.answers)
            until(lambda: len(self.answers) > seen + 5, "customers are registered at the end too")
        finally:
            self._stopping.set()
            thread.join()


def test_what_is_installed_as_the_page_says_passes_its_checklist(production: Production) -> None:
    production.stack.outcomes.clear()
    token, _ = production.issue("you", "admin")
    client = {"AUTH": f"Authorization: Bearer {token}"}
    answer = httpx.post(
        f"{production.stack.crm.url}/api/customers",
        json={"name": "Jane Doe", "email": "jane@example.com"},
        headers=bearer(token),
    )
    assert answer.status_code == 201, answer.text
    production.stack.wait_until_quiet()

    for command in CHECKLIST:
        production.run(command, **client)

    assert len(CHECKLIST) > 20


def test_the_checklist_finds_a_stack_that_is_not_fit_for_production(
    stack: Stack, tmp_path: Path
) -> None:
    """A development stack: each line about tokens, hosts and settings has to find it."""
    production = Production(stack, tmp_path)
    for server in stack.servers:
        server.environment |= {"ENVIRONMENT": "development", "ALLOWED_HOSTS": ""}
        server.environment.pop("TOKEN_INTROSPECTION_URL", None)
    stack.crm.environment |= {"ANONYMOUS_SCOPES": "customers:read", "CORS_ORIGINS": "*"}
    stack.start()
    unfit = []

    for command in CHECKLIST:
        try:
            production.run(command, AUTH="Authorization: Bearer admin123")
        except AssertionError:
            unfit.append(command)

    assert len(unfit) == 9, unfit
    for part in ('"environment":"production"', "grep 401", "grep 421", "access-control"):
        assert any(part in command for command in unfit)


def test_tokens_are_rotated_as_the_page_says_and_nobody_is_refused(production: Production) -> None:
    stack, load = production.stack, Load(production)
    old = {name: production.token("crm", name) for name in ("admin", "agent", "integration")}
    web_shop, web_shop_id = production.issue("web-shop", "agent")
    done = []

    with load.going_on():
        for command in ROTATION:
            own = {
                "AUTH": f"Authorization: Bearer {production.token('crm', 'admin')}",
                "NEW_TOKEN": production.token("crm", "agent"),
                "OLD_TOKEN": old["agent"],
                "OLD_TOKEN_ID": str(web_shop_id),
            }
            production.run(command, **own)
            done.append(step := command.split()[-1])
            if step in {"add", "switch", "drop"}:
                # Those that the page names.
                production.start(*stack.servers[1 if step == "switch" else 0 :])
            if step == "switch":
                load.token = production.token("crm", "agent")

    assert [step for step in done if step.isalpha()] == ["add", "switch", "drop"]
    assert set(load.answers) == {201}
    for role, token in old.items():
        assert production.token("crm", role) != token
    for token in (*old.values(), web_shop):
        answer = httpx.get(f"{stack.crm.url}/me", headers=bearer(token))
        assert answer.status_code == 401
    stack.wait_until_quiet()
    assert everyone_has_one_package(stack) == Verdict()
    assert [line for line in stack.integration.logged().splitlines() if REFUSED.search(line)] == []


def everyone_has_one_package(stack: Stack) -> Verdict:
    """Judge the databases; reading the feed would take a demo token."""
    customers = dict(stack.crm.rows("SELECT uid, email FROM customers"))
    packages = [uid for (uid,) in stack.inventory.rows("SELECT customer_id FROM package_requests")]
    acknowledged = {email for email, outcome in stack.outcomes.items() if outcome == "ok"}
    return Verdict(
        lost=sorted(acknowledged - set(customers.values())),
        missing=sorted(set(customers) - set(packages)),
        double=sorted(uid for uid in set(packages) if packages.count(uid) > 1),
        bugs=stack.bugs(),
    )
