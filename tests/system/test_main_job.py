"""What the system is for, as its users meet it: `make run`, its first commands, and a kill -9."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT, SERVICES
from tests.sweeps import sample
from tests.system.processes import PATIENCE, bare_environment, until
from tests.system.stack import BUG, Port, Stack

# As contract and README print them; only the ports are others here.
HEALTH = "curl http://localhost:8000/health"
CUSTOMER = 'curl -H "Authorization: Bearer agent123" http://localhost:8000/api/customers/1'
NEW_CUSTOMER = (
    'curl -X POST "http://localhost:8000/customers" -H "Content-Type: application/json" '
    """-d '{"name": "Jane Doe", "email": "jane.doe@example.com"}'"""
)
PACKAGES = "curl http://localhost:8001/package-requests"


# A stop may take ten seconds, P9 says.
STOP_SECONDS = 10.0
# How a service ends, on which engine; each second one is one way on each engine.
ENDS = [
    ("sqlite", signal.SIGTERM),
    ("sqlite", signal.SIGKILL),
    ("postgresql", signal.SIGKILL),
    ("postgresql", signal.SIGTERM),
]
CLIENTS = 4
CUSTOMERS_EACH = 20


class Runner:
    """What `make run` runs, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self._held = {service: Port() for service in SERVICES}
        self._client = httpx.Client(trust_env=False)
        self._log = folder / "runner.log"
        variables = ("CRM_PORT", "INVENTORY_PORT", "INTEGRATION_PORT")
        numbers = (str(port.number) for port in self._held.values())
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tools.run_local"],
                env=bare_environment()
                | {"PYTHONPATH": str(ROOT)}
                | dict(zip(variables, numbers, strict=True)),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def printed(self) -> str:
        return self._log.read_text()

    @property
    def restarts(self) -> int:
        return self.printed.count("starting it again")

    def curl(self, command: str) -> httpx.Response | None:
        """Send what curl would send; None when nobody answers."""
        _, *words = shlex.split(command)
        method, headers, body, url = "GET", {}, None, ""
        while words:
            match words.pop(0):
                case "-X":
                    method = words.pop(0)
                case "-H":
                    name, value = words.pop(0).split(": ", 1)
                    headers[name] = value
                case "-d":
                    body = words.pop(0)
                case other:
                    url = re.sub(r":(800\d)/", self._port_instead, other)
        with suppress(httpx.TransportError):
            return self._client.request(method, url, headers=headers, content=body)
        return None

    def wait_until_ready(self) -> None:
        until(lambda: "Ctrl-C stops them" in self.printed, "all three run")

    def services(self) -> dict[str, int]:
        """Return the pid of each service that runs."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it ends as we look
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                words = (folder / "cmdline").read_text().split("\0")
                if int(parent) == self.process.pid and "-m" in words:
                    found[words[words.index("-m") + 1]] = int(folder.name)
        return found

    def end(self, services: Collection[str], number: signal.Signals) -> None:
        """Send services a signal, and wait until the runner has noticed."""
        running, before = self.services(), self.restarts
        for service in services:
            os.kill(running[service], number)
        until(lambda: self.restarts == before + len(services), "they are to be started again")

    def stop(self) -> tuple[int, float]:
        """Press Ctrl-C. Returns the exit code, and after how many seconds."""
        began_at = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE), time.monotonic() - began_at

    def close(self) -> None:
        if self.process.poll() is None:
            for pid in [self.process.pid, *self.services().values()]:
                os.kill(pid, signal.SIGKILL)
            self.process.wait(PATIENCE)
        for held in (self._client, *self._held.values()):
            held.close()

    def _port_instead(self, usual: re.Match[str]) -> str:
        [name] = [name for name, service in SERVICES.items() if str(service.port) == usual[1]]
        return f":{self._held[name].number}/"


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    with closing(Runner(tmp_path)) as runner:
        yield runner


def test_make_run_keeps_the_promise_its_first_commands_show(runner: Runner) -> None:
    runner.wait_until_ready()
    assert runner.curl(HEALTH).json() == {"status": "ok"}
    assert runner.curl(CUSTOMER).json()["email"] == "jane@example.com"
    add_and_wait_for_a_package(runner, "jane.doe@example.com")
    # The demo data's Jane Doe comes before her in the feed, and gets none.
    assert len(runner.curl(PACKAGES).json()) == 1

    # Whoever is killed is started again, and no customer is lost or served twice by that.
    pids = set(runner.services().values())
    runner.end(SERVICES, signal.SIGKILL)
    add_and_wait_for_a_package(runner, "while.they.start@example.com")
    pids |= set(runner.services().values())
    runner.end(["integration_service"], signal.SIGTERM)
    printed = re.sub(" +", " ", runner.printed)
    for service in SERVICES:
        assert f"{service} | ended with -9; starting it again" in printed
    assert "integration_service | ended with 0; starting it again" in printed

    code, seconds = runner.stop()
    assert (code, seconds < STOP_SECONDS) == (0, True)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not BUG.search(runner.printed)


def add_and_wait_for_a_package(runner: Runner, email: str) -> None:
    """Add a customer without a token, and wait for its one package, that anybody may see."""
    command = NEW_CUSTOMER.replace("jane.doe@example.com", email)
    added = until(lambda: runner.curl(command), f"{email} is added")
    assert added.status_code == 201, added.text
    uid = added.json()["uid"]

    def packages() -> list[str]:
        answer = runner.curl(PACKAGES)
        found = [package["customer_id"] for package in answer.json()] if answer else []
        return [customer for customer in found if customer == uid]

    until(packages, f"{email} has a package")
    assert packages() == [uid]


@pytest.mark.parametrize(
    ("engine", "interval", "long_poll"),
    [
        # With long polling the interval does not matter; without it, it is all that does.
        pytest.param("sqlite", "3600", "10", id="long polling, SQLite"),
        pytest.param("postgresql", "3600", "10", id="long polling, PostgreSQL"),
        pytest.param("sqlite", "1", "0", id="no long polling"),
    ],
)
def test_a_package_is_requested_in_time(stack: Stack, interval: str, long_poll: str) -> None:
    stack.integration.environment.update(
        POLLING_INTERVAL_SECONDS=interval, LONG_POLL_SECONDS=long_poll
    )
    # Nothing but news, or else the interval, leads to a look at the feed or to a delivery.
    stack.integration.constants["integration_service.deliveries.dispatch:LONGEST_NAP_SECONDS"] = 60
    stack.start()
    for n in range(1, 4):
        stack.add_customers(1)
        until(
            lambda n=n: stack.inventory.rows("SELECT count(*) FROM package_requests") == [(n,)],
            "it has a package",
        )
    stack.wait_until_quiet()
    stack.check()


@pytest.mark.sweep
@pytest.mark.parametrize(("engine", "number"), sample(ENDS, every=2), indirect=["engine"])
def test_each_service_is_ended_in_a_stream_of_new_customers(
    stack: Stack, number: signal.Signals
) -> None:
    stack.start()
    with ThreadPoolExecutor(CLIENTS) as clients:
        streams = [clients.submit(stack.add_customers, CUSTOMERS_EACH) for _ in range(CLIENTS)]
        for step, server in enumerate(stack.servers, 1):
            # When a fourth of the customers is there, when half is, and so on.
            wanted = step * CLIENTS * CUSTOMERS_EACH / 4
            until(lambda wanted=wanted: stack.answered() >= wanted, "customers are added")
            code, seconds = server.end(number)
            assert code == (0 if number == signal.SIGTERM else -number), server.tail()
            assert seconds < STOP_SECONDS
            server.restart()
        for stream in streams:
            stream.result(PATIENCE)

    stack.wait_until_quiet()
    stack.check()
    assert stack.answered() == CLIENTS * CUSTOMERS_EACH
