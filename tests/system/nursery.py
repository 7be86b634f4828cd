"""Forks services off a process that has imported them all, which saves the two seconds of imports.

Its one argument is the folder with the services' packages. Each line on stdin is an order, each
line on stdout its answer, in JSON; it ends, and its children with it, when stdin does:

    {"command": [MODULE, ARGUMENT, …], "environment": …, "folder": …,
     "output": …, "errors": …, "constants": …}                     {"pid": …}
    {"poll": <pid>}                                                {"status": <exit code or null>}

`constants` are numbers to put in place of the code's own, each under "module:NAME".
A child runs what `python -m MODULE ARGUMENT …` runs, and has nothing in common with its siblings.
It is not reaped before its end has been told, so until then its pid is no other process's.
"""

import ctypes
import gc
import json
import os
import runpy
import signal
import sys
import traceback
from importlib import import_module
from typing import Any

from crash_points import begin_anew

SERVICES = ("crm_api", "inventory_api", "integration_service")
ALSO = (
    "service_kit.process.server",
    "service_kit.database.migrations",
    "service_kit.database.sqlite.database",
    "service_kit.database.postgres.database",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
)
PR_SET_PDEATHSIG = 1


def main() -> None:
    # In place of this file's folder, whose modules are none of the services' business.
    sys.path[0] = sys.argv[1]
    for service in SERVICES:
        import_module(f"{service}.settings")
        import_module(f"{service}.app")
    for module in ALSO:
        import_module(module)
    gc.freeze()  # a collection in a child would copy every page
    for line in sys.stdin:
        order = json.loads(line)
        answer = {"status": poll(order["poll"])} if "poll" in order else {"pid": fork(order)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def fork(order: dict[str, Any]) -> int:
    if (pid := os.fork()) != 0:
        return pid
    status = 1
    try:
        become(order)
        runpy.run_module(order["command"][0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 (a child must never go on as its parent)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def become(order: dict[str, Any]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in ((1, order["output"]), (2, order["errors"])):
        os.dup2(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644), number)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    for place, number in order["constants"].items():
        module, _, name = place.partition(":")
        getattr(import_module(module), name)  # there must be one
        setattr(sys.modules[module], name, number)
    sys.argv = order["command"]
    if "CRASH_AT" in os.environ:
        begin_anew()


def poll(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


if __name__ == "__main__":
    main()
