"""Runs all three services on this machine, as `make run` does: no Docker, SQLite under ./data.

Each line of theirs is printed behind the service's name. A service that dies is started again; one
Ctrl-C stops all. Settings come from the environment and from `.env`; the environment wins. A
setting for one service alone has its name in front: CRM_PORT, INVENTORY_DATABASE_URL and so on.
"""

import asyncio
import os
import signal
import socket
import sys
import urllib.request
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from service_kit.process.environment import near_misses
from tools import env_file

# Each service's usual port, and what a caller without a token may do here, so that the README's
# first commands work as printed. All three listen on 127.0.0.1 only.
SERVICES = {
    "crm_api": (8000, "customers:create"),
    "inventory_api": (8001, "packages:read"),
    "integration_service": (8002, "sync:read"),
}
# A page whose own name leads to 127.0.0.1 must not use these scopes or the demo tokens.
LOCAL_HOSTS = "localhost,127.0.0.1,[::1]"
# Settings of which each service needs its own, and the names that they are given by here.
OWN_SETTINGS = (
    "ADMIN_TOKEN",
    "ANONYMOUS_SCOPES",
    "API_TOKENS",
    "DATABASE_DIRECT_URL",
    "DATABASE_URL",
    "PORT",
)
# Settings of the integration, whose names are near to some of those.
LINK_TOKENS = {"CRM_API_TOKEN", "INVENTORY_API_TOKEN"}
RESTART_SECONDS = 1.0
STOP_SECONDS = 9.0
REFUSED = 2

WELCOME = """
All three services run; their data is in ./data. Look at them and work in them in a browser:

    http://localhost:{crm_api}

Their API pages are

    http://localhost:{crm_api}/docs    CRM
    http://localhost:{inventory_api}/docs    Inventory
    http://localhost:{integration_service}/docs    Integration

Add a customer, and look for its welcome package:

    curl -X POST "http://localhost:{crm_api}/customers" -H "Content-Type: application/json" \\
      -d '{{"name": "Jane Doe", "email": "jane.doe@example.com"}}'
    curl http://localhost:{inventory_api}/package-requests

Ctrl-C stops them.
"""


class Refused(Exception):
    """The environment asks for something that can't be run; the text says what to change."""


class Runner:
    def __init__(self, ports: Mapping[str, int], environment: Mapping[str, str]) -> None:
        self._ports = ports
        self._given = environment
        self._stopping = asyncio.Event()
        self._failed = False
        self._width = max(map(len, SERVICES))

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopping.set)
        async with asyncio.TaskGroup() as group:
            for name in SERVICES:
                group.create_task(self._keep_running(name))
            group.create_task(self._welcome())
        return 1 if self._failed else 0

    async def _keep_running(self, name: str) -> None:
        while not self._stopping.is_set():
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                name,
                "serve",
                env=environment_for(name, self._given, self._ports),
                stdout=PIPE,
                stderr=STDOUT,
                # A Ctrl-C reaches this process alone, which then stops the others in order.
                start_new_session=True,
            )
            await self._watch(name, process)
            if process.returncode == REFUSED:
                self._failed = True
                self._stopping.set()
            elif not self._stopping.is_set():
                self._print(name, f"ended with {process.returncode}; starting it again")
                await asyncio.sleep(RESTART_SECONDS)

    async def _watch(self, name: str, process: Process) -> None:
        printing = asyncio.create_task(self._print_lines(name, process))
        stop = asyncio.create_task(self._stopping.wait())
        ended = asyncio.create_task(process.wait())
        await asyncio.wait({stop, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            process.terminate()
            _, late = await asyncio.wait({ended}, timeout=STOP_SECONDS)
            if late:
                process.kill()
            await ended
        stop.cancel()
        await printing

    async def _print_lines(self, name: str, process: Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self._print(name, line.decode(errors="replace").rstrip())

    def _print(self, name: str, line: str) -> None:
        print(f"{name:<{self._width}} | {line}", flush=True)

    async def _welcome(self) -> None:
        for port in self._ports.values():
            while not await asyncio.to_thread(_answers, port):
                if self._stopping.is_set():
                    return
                await asyncio.sleep(0.1)
        print(WELCOME.format_map(self._ports), flush=True)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=1) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
    except OSError:
        return False


def given_environment(file: Path) -> dict[str, str]:
    """Return the variables of `.env` and of the environment, which wins. Raises Refused."""
    try:
        environment = {**env_file.read(file), **os.environ}
    except env_file.Malformed as error:
        raise Refused(str(error)) from None
    if environment.get("DATABASE_URL"):
        raise Refused(
            "DATABASE_URL would be one database for all three services; "
            f"set {', '.join(names_of('DATABASE_URL'))}."
        )
    known = {name for setting in OWN_SETTINGS for name in names_of(setting)}
    for warning in near_misses(known | LINK_TOKENS, environment):
        print(warning, flush=True)
    return environment


def environment_for(
    service: str, given: Mapping[str, str], ports: Mapping[str, int]
) -> dict[str, str]:
    """Return what one service gets of this environment: the settings with its name, without it."""
    named = {name for setting in OWN_SETTINGS for name in names_of(setting)}
    own = {setting: given.get(variable_of(service, setting)) for setting in OWN_SETTINGS}
    is_production = given.get("ENVIRONMENT") == "production"
    return {
        "ANONYMOUS_SCOPES": "" if is_production else SERVICES[service][1],
        "CRM_API_URL": f"http://localhost:{ports['crm_api']}",
        "INVENTORY_API_URL": f"http://localhost:{ports['inventory_api']}",
        "INTEGRATION_API_URL": f"http://localhost:{ports['integration_service']}",
        "TOKEN_INTROSPECTION_URL": f"http://localhost:{ports['crm_api']}/api/tokens/introspect",
        **{name: value for name, value in given.items() if name not in named},
        **{setting: value for setting, value in own.items() if value},
        "ALLOWED_HOSTS": f"{LOCAL_HOSTS},{given.get('ALLOWED_HOSTS', '')}",
        "HOST": "127.0.0.1",
        "PORT": str(ports[service]),
    }


def free_ports(environment: Mapping[str, str]) -> dict[str, int]:
    """Return each service's port. Raises Refused for one that is no number, or that is taken."""
    ports = {}
    with ExitStack() as held:
        for service, (usual, _) in SERVICES.items():
            variable = variable_of(service, "PORT")
            text = environment.get(variable) or str(usual)
            if not text.isdecimal() or not 1 <= int(text) <= 65535:  # noqa: PLR2004 (ports)
                raise Refused(f"{variable} must be a port from 1 to 65535.")
            ports[service] = int(text)
            probe = held.enter_context(socket.socket())
            # As the services do it: a port whose last owner has just ended is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", ports[service]))
                probe.listen()
            except OSError as error:
                raise Refused(
                    f"Port {text}, for {service}, can't be used: {error.strerror}. "
                    "Stop what uses it, perhaps another `make run`, or choose other ports: "
                    f"make run {' '.join(f'{one}=...' for one in names_of('PORT'))}"
                ) from None
    return ports


def variable_of(service: str, setting: str) -> str:
    """Name a setting for one of the three: CRM_PORT for crm_api, and so on."""
    return f"{service.split('_', 1)[0].upper()}_{setting}"


def names_of(setting: str) -> list[str]:
    return [variable_of(service, setting) for service in SERVICES]


def main() -> int:
    try:
        environment = given_environment(Path(".env"))
        ports = free_ports(environment)
    except Refused as reason:
        print(reason, file=sys.stderr)
        return REFUSED
    print("Starting the CRM, Inventory and the integration...", flush=True)
    return asyncio.run(Runner(ports, environment).run())


if __name__ == "__main__":
    sys.exit(main())
