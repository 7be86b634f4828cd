"""The command line that all services share: serve, migrate, openapi, healthcheck.

Each command imports what it needs when it runs, so that a health check costs no more than a socket.
"""

import argparse
import functools
import gc
import json
import logging
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service_kit.database import Database
    from service_kit.database.migrations import Migrations
    from service_kit.process.settings import ServiceSettings
    from service_kit.process.workers import Worker

EXIT_REFUSED = 2
EXIT_WORKER_REFUSED = 3  # uvicorn's supervisor takes it for an error that will not heal
# The header of what a service answers before it is there; see `service_kit.process.starting`.
STARTING = "x-starting"
HEALTHCHECK_SECONDS = 4.0
# How long a service that starts waits for a database server that says it is starting as well.
DATABASE_SECONDS = 30.0
DEMO_TOKENS = (
    "Demo tokens are on; anyone who has read the README has them. "
    "Set API_TOKENS or ENVIRONMENT=production."
)

logger = logging.getLogger(__name__)

# The action that add_subparsers returns has no public name.
AddCommands = Callable[["argparse._SubParsersAction[argparse.ArgumentParser]"], None]  # noqa: SLF001


@dataclass(frozen=True)
class Service:
    """A service by the name of its package, which holds `settings` and `app`."""

    name: str
    port: int

    def settings(self) -> "ServiceSettings":
        """Read the environment. Raises Refused with a line for each fault."""
        found: ServiceSettings
        found = import_module(f"{self.name}.settings").Settings.from_environment()
        return found

    def app(self, settings: "ServiceSettings") -> "FastAPI":
        app: FastAPI = import_module(f"{self.name}.app").create_app(settings)
        return app

    def migrations(self) -> "Migrations":
        from service_kit.database.migrations import Migrations

        folder = Path(import_module(self.name).__path__[0]) / "migrations"
        return Migrations(self.name, folder)


def main(
    service: Service, argv: Sequence[str] | None = None, add: AddCommands | None = None
) -> int:
    """Run one command. Returns its exit code; 2 says that the environment or the call was wrong."""
    parser = argparse.ArgumentParser(prog=f"python -m {service.name}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, run, about in (
        ("serve", serve, "migrate the database, then answer requests until a signal comes"),
        ("migrate", migrate, "bring the database's schema up to date"),
        ("openapi", openapi, "print the OpenAPI description"),
        ("healthcheck", healthcheck, "exit with 0 when a service answers on this machine's PORT"),
    ):
        commands.add_parser(name, help=about, description=about).set_defaults(run=run)
    if add is not None:
        add(commands)
    options = parser.parse_args(argv)
    chosen: Callable[[Service, argparse.Namespace], int] = options.run
    return chosen(service, options)


def serve(service: Service, _options: argparse.Namespace) -> int:
    gc.disable()  # what a start makes is kept; to look through it is a sixth of the time
    settings = prepare(service)
    if settings is None:
        return EXIT_REFUSED
    from service_kit.process import server

    server.end_on_signals()
    try:
        listening = server.listen(settings.host, settings.port)
    except server.CannotListen as error:
        return refuse(service, str(error))
    if settings.workers == 1:
        return _serve(service, settings, listening)
    if not _prepare_database(service, settings):
        return EXIT_REFUSED
    from service_kit.process.starting import end_of_start
    from service_kit.process.workers import supervise

    end_of_start()
    return supervise(functools.partial(_worker, service), settings, listening)


def migrate(service: Service, _options: argparse.Namespace) -> int:
    settings = prepare(service)
    return 0 if settings is not None and _migrate(service, settings) else EXIT_REFUSED


def openapi(service: Service, _options: argparse.Namespace) -> int:
    """Print the description; it is the same whatever the environment says."""
    from service_kit.process.environment import Refused

    try:
        settings = service.settings()
    except Refused as error:
        return refuse(service, str(error))
    json.dump(service.app(settings).openapi(), sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0


def healthcheck(service: Service, _options: argparse.Namespace) -> int:
    """Ask /health over a bare socket: an HTTP client would cost more than the answer.

    A service that is still starting is alive, but whoever asks here would send it requests.
    """
    port = os.environ.get("PORT") or str(service.port)
    if not port.isdecimal():
        return refuse(service, "PORT must be a number")
    host = os.environ.get("HOST") or "127.0.0.1"
    host = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 (a comparison)
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection((host, port), HEALTHCHECK_SECONDS) as connection:
            connection.sendall(request)
            head = connection.recv(1024)
    except OSError as error:
        return refuse(service, f"nothing answers on {host}:{port} ({error})", code=1)
    return 0 if head.startswith(b"HTTP/1.1 200") and STARTING.encode() not in head else 1


def prepare(service: Service) -> "ServiceSettings | None":
    """Read the environment and set up the log; None, with the reason printed, if that failed."""
    settings = _configure(service)
    if settings is not None:
        from service_kit.process.environment import near_misses

        for warning in near_misses(type(settings).model_fields):
            logger.warning("%s", warning)
    return settings


def _configure(service: Service) -> "ServiceSettings | None":
    from service_kit.process import logs
    from service_kit.process.environment import Refused

    try:
        settings = service.settings()
    except Refused as error:
        refuse(service, str(error))
        return None
    logs.configure(settings.log_level, settings.log_style)
    return settings


def refuse(service: Service, reason: str, code: int = EXIT_REFUSED) -> int:
    for line in reason.splitlines():
        print(f"{service.name}: {line}", file=sys.stderr)  # noqa: T201 (a command's own words)
    return code


@asynccontextmanager
async def opened_database(service: Service, url: str) -> "AsyncIterator[Database]":
    """Open the database for a command that takes it as it is: nothing is made or migrated.

    Raises SchemaMismatch where there is none or its schema is not this version's,
    DatabaseUnavailable, or DurabilityMissing.
    """
    from service_kit.database import open_database
    from service_kit.database.migrations import SchemaMismatch, current_revision
    from service_kit.database.sqlite.connect import file_of

    migrate = f"'python -m {service.name} migrate'"
    if url.startswith("sqlite:") and not (path := file_of(url).absolute()).exists():
        raise SchemaMismatch(f"there is none at {path}. {migrate} makes one.")
    database = open_database(url, service.name)
    try:
        await database.open()
        if (found := await database.write(current_revision)) != service.migrations().head:
            raise SchemaMismatch(f"its schema is at {found or 'nothing'}: run {migrate}.")
        yield database
    finally:
        await database.close()


def refuse_database(service: Service, error: Exception) -> int:
    """Say why the database can't be used: in the driver's own words, never a caller's."""
    from service_kit.database.errors import reason

    return refuse(service, f"the database can't be used: {reason(error)}")


def _migrate(service: Service, settings: "ServiceSettings", patience: float = 0.0) -> bool:
    from service_kit.database import DatabaseUnavailable, DurabilityMissing
    from service_kit.database.errors import is_transient, reason
    from service_kit.database.migrations import SchemaMismatch

    migrations = service.migrations()
    give_up_at = time.monotonic() + patience
    while True:
        try:
            before = migrations.upgrade(settings.database_url)
        except (SchemaMismatch, DurabilityMissing, DatabaseUnavailable, ValueError) as error:
            if is_transient(error) and time.monotonic() < give_up_at:
                logger.warning("The database can't be used yet: %s", reason(error))
                time.sleep(1)
                continue
            refuse_database(service, error)
            return False
        break
    if before != migrations.head:
        logger.info("Migrated the database from %s to %s.", before or "nothing", migrations.head)
    return True


def _worker(service: Service) -> "Worker":
    """Make what a worker process serves; it has a log and a settings object of its own."""
    from service_kit.process.starting import end_of_start
    from service_kit.process.workers import Worker, ending_on_signals

    gc.disable()
    with ending_on_signals():
        settings = _configure(service)
        if settings is None:
            sys.exit(EXIT_WORKER_REFUSED)
        worker = Worker(service.app(settings))
    end_of_start()
    return worker


def _serve(service: Service, settings: "ServiceSettings", listening: socket.socket) -> int:
    from service_kit.process import server
    from service_kit.process.starting import Starting

    load = functools.partial(_prepare_and_load, service, settings)
    return server.run(Starting(service.name, settings, load), settings, listening)


def _prepare_and_load(service: Service, settings: "ServiceSettings") -> "FastAPI | None":
    return service.app(settings) if _prepare_database(service, settings) else None


def _prepare_database(service: Service, settings: "ServiceSettings") -> bool:
    if not _migrate(service, settings, patience=DATABASE_SECONDS):
        return False
    if settings.uses_demo_tokens:
        logger.warning(DEMO_TOKENS)
    return True
