"""The command line, as an operator or a container engine uses it: real processes, real signals.

They are forked off one that has loaded the services, which saves each a second of imports. They run
what `python -m` runs; that it does is shown by the tests of `make run`.
"""

import itertools
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import bearer, run_sql, with_database
from tests.system.processes import Nursery, bare_environment, end

pytestmark = pytest.mark.slow

SECRET = "s3cret-and-long-enough"
STOP_SECONDS = 10.0
REPLACE_SECONDS = 60.0
# How long the supervisor waits for a worker that does not answer, which is fifteen seconds.
IMPATIENT = {"service_kit.process.server:SILENT_SECONDS": 5}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Started:
    """A command of the CRM in a process of its own."""

    def __init__(
        self,
        nursery: Nursery,
        folder: Path,
        command: str,
        constants: Mapping[str, float],
        variables: Mapping[str, str],
    ) -> None:
        folder.mkdir()
        self._output, self._errors = folder / "stdout", folder / "stderr"
        environment = {**bare_environment(), "SEED_DEMO_DATA": "false", **variables}
        files = (folder, self._output, self._errors)
        self.process = nursery.start(["crm_api", command], environment, *files, constants)

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def log(self) -> str:
        return self._errors.read_text() if self._errors.exists() else ""


class Server(Started):
    """A CRM that serves, in the middle of its start."""

    def __init__(
        self, nursery: Nursery, folder: Path, constants: Mapping[str, float], **variables: str
    ) -> None:
        self.port = free_port()
        super().__init__(nursery, folder, "serve", constants, {"PORT": str(self.port), **variables})
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)

    def wait_until_it_listens(self) -> None:
        """From then on connections wait in the queue of the socket until they are answered."""

        def listens() -> bool:
            has_ended = self.process.poll() is not None
            assert not has_ended, self.log
            return "Listening on" in self.log

        until(listens)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal. Returns the exit code."""
        os.kill(self.process.pid, number)
        return self.process.wait(STOP_SECONDS)

    def workers(self) -> list[psutil.Process]:
        found = []
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):
                found += [child] if "spawn_main" in " ".join(child.cmdline()) else []
        return found

    def close(self) -> None:
        self.http.close()
        if self.process.poll() is None:
            for worker in self.workers():
                worker.kill()
        end(self.process)


Run = Callable[..., tuple[int, str, str]]
Serve = Callable[..., Server]


@pytest.fixture
def run(nursery: Nursery, tmp_path: Path) -> Run:
    """Run a command to its end. Returns its exit code and what it has written."""
    numbers = itertools.count()

    def run(command: str, **variables: str) -> tuple[int, str, str]:
        started = Started(nursery, tmp_path / f"{command}-{next(numbers)}", command, {}, variables)
        return started.process.wait(30), started.output, started.log

    return run


@pytest.fixture
def migrated(tmp_path: Path, sqlite_template: Callable[[str], Path]) -> str:
    shutil.copy(sqlite_template("crm_api"), tmp_path / "crm.db")
    return f"sqlite:///{tmp_path}/crm.db"


@pytest.fixture
def begin(nursery: Nursery, tmp_path: Path, migrated: str) -> Iterator[Serve]:
    servers: list[Server] = []

    def begin(constants: Mapping[str, float] = {}, **variables: Any) -> Server:
        folder = tmp_path / f"serve-{len(servers)}"
        servers.append(
            Server(nursery, folder, constants, **{"DATABASE_URL": migrated, **variables})
        )
        return servers[-1]

    yield begin
    for server in servers:
        server.close()


@pytest.fixture
def serve(begin: Serve) -> Serve:
    def serve(**variables: Any) -> Server:
        server = begin(**variables)
        server.wait_until_it_listens()
        return server

    return serve


@contextmanager
def listening() -> Iterator[tuple[socket.socket, int]]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken, taken.getsockname()[1]


def answer_once(server: socket.socket, what: bytes) -> threading.Thread:
    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(what)

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


def test_a_server_is_healthy_and_ends_when_it_is_told_to(run: Run, serve: Serve) -> None:
    server = serve()
    assert server.http.get("/health/ready").json()["database"] == "connected"
    assert server.http.get("/health").json() == {"status": "ok"}

    assert run("healthcheck", PORT=str(server.port)) == (0, "", "")
    assert server.stop() == 0
    assert re.search(rf"INFO: Listening on http://127.0.0.1:{server.port} \[", server.log)
    assert "Demo tokens are on" in server.log


def test_a_short_token_is_named_once_at_the_start_of_production(serve: Serve) -> None:
    short = {"API_TOKENS": "viewer:my-short-one", "ADMIN_TOKEN": "x" * 40}
    server = serve(ENVIRONMENT="production", LOG_FORMAT="text", WORKERS="2", **short)

    assert server.stop() == 0
    assert server.log.count("WARNING: Tokens with fewer than 32") == 1
    assert "32 characters: API_TOKENS (entry 1, viewer). From 0.5.0" in server.log
    assert "my-short-one" not in server.log


def test_where_nothing_listens_nothing_is_healthy(run: Run) -> None:
    code, _, err = run("healthcheck", PORT=str(free_port()))

    assert code == 1
    assert re.fullmatch(r"crm_api: nothing answers on 127\.0\.0\.1:\d+ \(.*\)\n", err)


@pytest.mark.parametrize(
    "what", [b"HTTP/1.1 503 Service Unavailable\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b""]
)
def test_what_answers_otherwise_is_not_healthy(run: Run, what: bytes) -> None:
    with listening() as (server, port):
        answering = answer_once(server, what)
        code, _, _ = run("healthcheck", PORT=str(port))
        answering.join()

    assert code == 1


def test_the_description_is_printed_and_nothing_is_made(run: Run, tmp_path: Path) -> None:
    code, out, err = run("openapi", DATABASE_URL=f"sqlite:///{tmp_path}/new/crm.db")

    assert (code, err) == (0, "")
    assert "/api/customers/{customer}" in json.loads(out)["paths"]
    assert not (tmp_path / "new").exists()


def test_a_port_that_is_taken_is_told_in_one_line(run: Run, migrated: str) -> None:
    with listening() as (_, port):
        code, out, err = run("serve", PORT=str(port), DATABASE_URL=migrated)

    assert (code, out) == (2, "")
    assert re.fullmatch(
        rf"crm_api: 127\.0\.0\.1:{port}: Address already in use\. .*HOST and PORT\.\n", err
    )


@pytest.mark.parametrize(
    ("command", "variables", "names"),
    [
        ("serve", {"API_TOKENS": SECRET}, "API_TOKENS"),
        ("migrate", {"API_TOKENS": f"{SECRET}:admin"}, "API_TOKENS"),
        ("openapi", {"ADMIN_TOKEN": f"{SECRET} x"}, "ADMIN_TOKEN"),
        ("serve", {"ENVIRONMENT": "production"}, "API_TOKENS"),
        ("serve", {"ENVIRONMENT": "production", "ADMIN_TOKEN": "clerk123"}, "admin"),
        ("healthcheck", {"PORT": "http"}, "PORT"),
        ("serve", {"DATABASE_URL": f"mysql://u:{SECRET}@host/crm"}, "DATABASE_URL"),
        ("serve", {"DATABASE_URL": f"postgresql://u:x/{SECRET}@host/crm"}, "DATABASE_URL"),
        ("serve", {"DATABASE_URL": f"postgresql://u:{SECRET}@127.0.0.1:1/crm"}, "database"),
        ("migrate", {"DATABASE_URL": "sqlite:////dev/null/crm.db"}, "database"),
    ],
)
def test_what_can_not_be_started_with_is_told_in_one_line(
    run: Run, command: str, variables: dict[str, str], names: str
) -> None:
    code, out, err = run(command, **({"PORT": str(free_port())} | variables))

    assert (code, out) == (2, "")
    [told] = err.splitlines()
    assert told.startswith("crm_api: ")
    assert names in told
    assert SECRET not in err
    assert "clerk123" not in err


def test_a_service_that_does_not_come_up_says_why(run: Run, migrated: str) -> None:
    with closing(sqlite3.connect(migrated.removeprefix("sqlite:///"))) as database:
        database.execute("DROP TABLE customers")

    code, _, err = run("serve", PORT=str(free_port()), DATABASE_URL=migrated, SEED_DEMO_DATA="true")

    assert code == 3
    assert "ERROR: The service ends, since a part of it has failed. [" in err
    assert "\n    sqlite3.OperationalError: no such table: customers\n" in err


def test_a_database_that_may_forget_is_not_served(run: Run, postgres_server: str) -> None:
    run_sql(postgres_server, "CREATE DATABASE forgetful")
    run_sql(postgres_server, "ALTER DATABASE forgetful SET synchronous_commit = off")
    url = with_database(postgres_server, "forgetful")

    code, _, err = run("serve", PORT=str(free_port()), DATABASE_URL=url)

    assert code != 0
    assert "synchronous_commit=off" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_a_signal_ends_a_server_and_answers_who_waits(serve: Serve, number: signal.Signals) -> None:
    server = serve()
    answers: list[httpx.Response] = []

    def wait_for_news() -> None:
        answers.append(server.http.get("/api/events?wait=25", headers=bearer("integration123")))

    assert server.http.get("/api/events", headers=bearer("integration123")).json()["events"] == []
    waiting = threading.Thread(target=wait_for_news)
    waiting.start()
    ask(server, 3)  # by then the server has taken up what was sent before
    assert server.stop(number) == 0
    waiting.join(STOP_SECONDS)

    [answer] = answers
    assert answer.status_code == 200
    assert answer.json()["events"] == []
    assert "Traceback" not in server.log


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_signal_in_the_middle_of_a_start_ends_it(serve: Serve, workers: str) -> None:
    server = serve(WORKERS=workers)

    assert server.stop() == 0
    assert "Traceback" not in server.log


@contextmanager
def being_migrated(url: str) -> Iterator[None]:
    """Have a start wait for its turn to migrate, as behind another replica."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def until_it_migrates(server: Server) -> None:
    process = psutil.Process(server.process.pid)
    until(lambda: process.num_threads() > 1)


def test_a_server_is_not_healthy_before_its_database_is_migrated(
    run: Run, begin: Serve, migrated: str
) -> None:
    with being_migrated(migrated):
        server = begin()
        until_it_migrates(server)
        assert run("healthcheck", PORT=str(server.port))[0] == 1
    server.wait_until_it_listens()
    assert server.http.get("/health").json() == {"status": "ok"}
    assert run("healthcheck", PORT=str(server.port))[0] == 0
    assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_signal_ends_a_server_whose_database_is_migrated(
    begin: Serve, migrated: str, workers: str, number: signal.Signals
) -> None:
    with being_migrated(migrated):
        server = begin(WORKERS=workers)
        until_it_migrates(server)
        assert server.stop(number) == 0
    assert "Traceback" not in server.log


def test_workers_share_the_requests_and_one_that_dies_is_replaced(serve: Serve) -> None:
    server = serve(WORKERS="2")
    ask(server, 1)
    first, second = server.workers()
    with asleep(first):
        ask(server, 2)
    with asleep(second):
        ask(server, 4)
    until(lambda: counted(server) == 7)

    second.kill()
    second.wait(REPLACE_SECONDS)
    ask(server, 8)
    until(lambda: counted(server) == 15)
    until(lambda: len(set(server.workers()) - {second}) == 2, REPLACE_SECONDS)

    assert server.stop() == 0
    assert server.log.count(f"Child process [{second.pid}] died") == 1


@pytest.mark.long
def test_a_worker_that_hangs_is_replaced(serve: Serve) -> None:
    server = serve(constants=IMPATIENT, WORKERS="2")
    ask(server, 1, "/health")
    first, second = server.workers()

    first.suspend()

    until(lambda: first not in server.workers() and len(server.workers()) == 2, REPLACE_SECONDS)
    assert second in server.workers()
    ask(server, 4, "/health")
    assert server.stop() == 0
    assert server.log.count(f"Child process [{first.pid}] died") == 1


def test_workers_end_with_a_supervisor_that_is_killed(serve: Serve) -> None:
    server = serve(WORKERS="2")
    ask(server, 1)
    workers = server.workers()

    end(server.process)

    gone, alive = psutil.wait_procs(workers, STOP_SECONDS)
    for one in alive:
        one.kill()
    assert (len(gone), alive) == (2, [])


def ask(server: Server, times: int, path: str = "/health/ready") -> None:
    """Ask for a path, each time over a connection of its own."""
    for _ in range(times):
        connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("GET", path)
        assert connection.getresponse().status == 200
        connection.close()


def counted(server: Server) -> float:
    """Read how often /health/ready was answered, by all workers together."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(server.http.get("/metrics").text)
        for sample in family.samples
        if sample.name.endswith("_count") and sample.labels["route"] == "/health/ready"
    )


@contextmanager
def asleep(worker: psutil.Process) -> Iterator[None]:
    worker.suspend()
    try:
        yield
    finally:
        worker.resume()


def until(true: Callable[[], bool], seconds: float = STOP_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
