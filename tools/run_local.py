"""Runs all three services on this machine, as `make run` does: no Docker, SQLite under ./data.

Each line of theirs is printed behind the service's name. A service that dies is started again; one
Ctrl-C stops all. CRM_PORT, INVENTORY_PORT and INTEGRATION_PORT move them to other ports;
CRM_DATABASE_URL and so on give each another database.
"""

import asyncio
import os
import signal
import sys
import urllib.request
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Mapping

# Each service's usual port, and what a caller without a token may do here, so that the README's
# first commands work as printed. All three listen on 127.0.0.1 only.
SERVICES = {
    "crm_api": (8000, "customers:create"),
    "inventory_api": (8001, "packages:read"),
    "integration_service": (8002, "sync:read"),
}
RESTART_SECONDS = 1.0
STOP_SECONDS = 9.0
REFUSED = 2

WELCOME = """
All three services run; their data is in ./data, their API pages are

    http://localhost:{crm_api}/docs    CRM
    http://localhost:{inventory_api}/docs    Inventory
    http://localhost:{integration_service}/docs    Integration

Add a customer, and look for its welcome package:

    curl -X POST "http://localhost:{crm_api}/customers" -H "Content-Type: application/json" \\
      -d '{{"name": "Jane Doe", "email": "jane.doe@example.com"}}'
    curl http://localhost:{inventory_api}/package-requests

Ctrl-C stops them.
"""


class Runner:
    def __init__(self, ports: Mapping[str, int]) -> None:
        self._ports = ports
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
                env=self._environment(name),
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

    def _environment(self, name: str) -> dict[str, str]:
        database = os.environ.get(variable_of(name, "DATABASE_URL"))
        return {
            "HOST": "127.0.0.1",
            "ANONYMOUS_SCOPES": SERVICES[name][1],
            "CRM_API_URL": f"http://localhost:{self._ports['crm_api']}",
            "INVENTORY_API_URL": f"http://localhost:{self._ports['inventory_api']}",
            **os.environ,
            "PORT": str(self._ports[name]),
            **({"DATABASE_URL": database} if database else {}),
        }

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


def ports() -> dict[str, int]:
    return {
        name: int(os.environ.get(variable_of(name, "PORT")) or SERVICES[name][0])
        for name in SERVICES
    }


def variable_of(service: str, variable: str) -> str:
    """Name a variable for one of the three: CRM_PORT for crm_api, and so on."""
    return f"{service.split('_', 1)[0].upper()}_{variable}"


def main() -> int:
    if os.environ.get("DATABASE_URL"):
        own = ", ".join(variable_of(name, "DATABASE_URL") for name in SERVICES)
        print(f"DATABASE_URL would be one database for all three services; set {own}.")
        return REFUSED
    return asyncio.run(Runner(ports()).run())


if __name__ == "__main__":
    sys.exit(main())
