"""The command line that all services share: serve, migrate, openapi, healthcheck.

Each command imports what it needs when it runs, so that a health check costs no more than a socket.
"""

import argparse
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from service_kit.process.environment import Refused, near_misses

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service_kit.database import Database
    from service_kit.database.migrations import Migrations
    from service_kit.process.settings import ServiceSettings

EXIT_REFUSED = 2
EXIT_WORKER_REFUSED = 3  # uvicorn's supervisor takes it for an error that will not heal
HEALTHCHECK_SECONDS = 4.0
# How long a service that starts waits for a database server that says it is starting as well.
DATABASE_SECONDS = 30.0
DEMO_TOKENS = (
    "Demo tokens are on; anyone who has read the README has them. "
    "Set API_TOKENS or ENVIRONMENT=production."
)

logger = logging.getLogger(__name__)

T = TypeVar("T")
Run = Callable[["Service", argparse.Namespace], int]
# Adds a command with its help text, and returns the parser of its arguments.
Add = Callable[[str, Run, str], argparse.ArgumentParser]
# What a command does with the service's settings and its open database.
Work = Callable[[Any, "Database"], Awaitable[T]]


@dataclass(frozen=True)
class Service:
    """A service by the name of its package, which holds `settings` and `app`.

    `package` is where these and its migrations are, if that is not the package of its name.
    """

    name: str
    port: int
    package: str = ""

    def settings(self) -> "ServiceSettings":
        """Read the environment. Raises Refused with a line for each fault."""
        found: ServiceSettings
        found = import_module(f"{self._home}.settings").Settings.from_environment()
        return found

    def app(self, settings: "ServiceSettings") -> "FastAPI":
        app: FastAPI = import_module(f"{self._home}.app").create_app(settings)
        return app

    def migrations(self) -> "Migrations":
        from service_kit.database.migrations import Migrations

        folder = Path(import_module(self._home).__path__[0]) / "migrations"
        return Migrations(self.name, folder)

    @property
    def _home(self) -> str:
        return self.package or self.name


def main(
    service: Service,
    argv: Sequence[str] | None = None,
    add_own: Callable[[Add], None] | None = None,
) -> int:
    """Run one command. Returns its exit code; 2 says that the environment or the call was wrong."""
    parser = argparse.ArgumentParser(prog=f"python -m {service.name}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Run, about: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(run=run)
        return command

    add("serve", serve, "migrate the database, then answer requests until a signal comes")
    add("migrate", migrate, "bring the database's schema up to date")
    add("openapi", openapi, "print the OpenAPI description")
    add("healthcheck", healthcheck, "exit with 0 when a service answers on this machine's PORT")
    if add_own is not None:
        add_own(add)
    options = parser.parse_args(argv)
    run: Run = options.run
    try:
        return run(service, options)
    except Refused as error:
        return refuse(service, str(error))


def refuse(service: Service, reason: str, code: int = EXIT_REFUSED) -> int:
    for line in reason.splitlines():
        print(f"{service.name}: {line}", file=sys.stderr)  # noqa: T201 (a command's own words)
    return code


def serve(service: Service, _options: argparse.Namespace) -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)  # an exception could come into any import
    settings = prepare(service)
    from service_kit.process import server, volumes

    for number in (signal.SIGTERM, signal.SIGINT):
        # Without a handler the first process of a container would ignore it.
        signal.signal(number, signal.default_int_handler)
    try:
        with server.bind(settings.host, settings.port) as bound:
            _migrate_until_signal(service, settings)
            if settings.uses_demo_tokens:
                logger.warning(DEMO_TOKENS)
            for warning in (volumes.warning_of(settings.database_url), *settings.deprecations()):
                if warning is not None:
                    logger.warning("%s", warning)
            return server.run(partial(create_app, service), settings, bound)
    except KeyboardInterrupt:  # before anything was served
        return 0


def migrate(service: Service, _options: argparse.Namespace) -> int:
    migrate_database(service, prepare(service))
    return 0


def openapi(service: Service, _options: argparse.Namespace) -> int:
    """Print the description; it is the same whatever the environment says."""
    json.dump(service.app(service.settings()).openapi(), sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0


def healthcheck(service: Service, _options: argparse.Namespace) -> int:
    """Ask /health over a bare socket: an HTTP client would cost more than the answer."""
    port = os.environ.get("PORT") or str(service.port)
    if not port.isdecimal():
        raise Refused("PORT must be a number")
    host = os.environ.get("HOST") or "127.0.0.1"
    host = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 (a comparison)
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection((host, port), HEALTHCHECK_SECONDS) as connection:
            connection.sendall(request)
            head = connection.recv(1024)
    except OSError as error:
        return refuse(service, f"nothing answers on {host}:{port} ({error})", code=1)
    return 0 if head.startswith(b"HTTP/1.1 200") else 1


def prepare(service: Service) -> "ServiceSettings":
    """Read the environment and set up the log. Raises Refused."""
    settings = _configure(service)
    for warning in near_misses(type(settings).model_fields):
        logger.warning("%s", warning)
    return settings


def create_app(service: Service) -> "FastAPI":
    """Make the app of one process; a worker reads the environment and sets up its log itself."""
    try:
        return service.app(_configure(service))
    except Refused as error:
        sys.exit(refuse(service, str(error), EXIT_WORKER_REFUSED))


def migrate_database(service: Service, settings: "ServiceSettings", patience: float = 0.0) -> None:
    """Bring the schema up to date. Raises Refused where the database can't be used."""
    from service_kit.database import DatabaseUnavailable, DurabilityMissing
    from service_kit.database.errors import is_transient, reason
    from service_kit.database.migrations import SchemaMismatch
    from service_kit.database.production import ServedInProduction, refuse_development

    migrations = service.migrations()
    first = None if settings.environment == "production" else refuse_development
    give_up_at = time.monotonic() + patience
    unusable = (
        SchemaMismatch,
        ServedInProduction,
        DurabilityMissing,
        DatabaseUnavailable,
        ValueError,
    )
    while True:
        try:
            if settings.database_direct_url is not None:
                from service_kit.database.postgres.direct_url import refuse_unfit

                refuse_unfit(settings.database_url, settings.database_direct_url)
            before = migrations.upgrade(
                settings.session_url, snapshots=settings.snapshots, first=first
            )
        except unusable as error:
            if not is_transient(error) or time.monotonic() >= give_up_at:
                raise _unusable(error) from error
            logger.warning("The database can't be used yet: %s", reason(error))
            time.sleep(1)
            continue
        if before is None or before in migrations.revisions[:-1]:
            versions = before or "nothing", migrations.head
            logger.info("Migrated the database from %s to %s.", *versions)
        return


def with_database(service: Service, work: Work[T], settings: "ServiceSettings | None" = None) -> T:
    """Do a command's work on the database as it is: nothing is made or migrated.

    Raises Refused where there is none, it can't be used, or its schema is one that this release
    can't run on.
    """
    import asyncio

    from service_kit.database import DatabaseUnavailable, DurabilityMissing, open_database
    from service_kit.database.migrations import SchemaMismatch
    from service_kit.database.sqlite.connect import file_of
    from service_kit.process.logs import current_request_id, new_request_id, use_request_id

    async def run(settings: "ServiceSettings") -> T:
        url = settings.database_url
        migrate = f"'python -m {service.name} migrate'"
        if url.startswith("sqlite:") and not (path := file_of(url).absolute()).exists():
            raise SchemaMismatch(f"there is none at {path}. {migrate} makes one.")
        database = open_database(url, service.name, direct_url=settings.database_direct_url)
        if not current_request_id():
            use_request_id(new_request_id())  # by which the audit tells this command from others
        try:
            await database.open()
            await database.write(service.migrations().check)
            return await work(settings, database)
        finally:
            await database.close()

    try:
        return asyncio.run(run(settings or prepare(service)))
    except (DatabaseUnavailable, DurabilityMissing, SchemaMismatch) as error:
        raise _unusable(error) from error


def _configure(service: Service) -> "ServiceSettings":
    from service_kit.process import logs

    settings = service.settings()
    logs.configure(settings.log_level, settings.log_style)
    return settings


def _unusable(error: Exception) -> Refused:
    """Say why the database can't be used: in the driver's own words, never a caller's."""
    from service_kit.database.errors import reason

    return Refused(f"the database can't be used: {reason(error)}")


def _migrate_until_signal(service: Service, settings: "ServiceSettings") -> None:
    """Migrate in a thread, which no signal waits for: it may be in the middle of a long statement.

    What it has begun is rolled back when the process ends.
    """
    faults: list[Exception] = []

    def run() -> None:
        try:
            migrate_database(service, settings, DATABASE_SECONDS)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is raised below)
            faults.append(error)

    thread = threading.Thread(target=run, name="migration", daemon=True)
    thread.start()
    thread.join()
    if faults:
        raise faults[0]
