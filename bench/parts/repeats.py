"""What is asked for twice because of a kill -9, which a receiver that knows customers hides."""

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from bench.durable import installed
from bench.place import Place
from bench.processes import Server, bare_environment, base, service, wait_until
from bench.report import Comparison, compare
from bench.stacks import add_customers, call

CUSTOMERS, KILLED_AT, BATCH = 200, 80, 10
QUIET_SECONDS = 3.0

Command = Callable[[Server], list[str]]
# Starts what asks a receiver for packages; the second time with the database of the first.
Start = Callable[[ExitStack, Server], "subprocess.Popen[bytes]"]


def measure(place: Place) -> Iterator[Comparison]:
    peers = installed()
    found: dict[str, list[float]] = defaultdict(list)
    with service("crm_api", place.folder, place.database("sqlite", "crm_api")) as crm:
        add_customers(crm, CUSTOMERS)
        for _ in range(1 if place.quick else 3):
            url = place.database("sqlite", "integration_service")
            found["own"].append(repeats(place, partial(_own, place, crm, url)))
            for peer in peers:
                command = partial(peer.command, crm, peer.new_state(place))
                found[peer.name].append(repeats(place, partial(_run, place, command)))
            command = partial(_script, crm)
            found["one by one, kept client"].append(repeats(place, partial(_run, place, command)))
    what = f"kill -9 at {KILLED_AT} of {CUSTOMERS}, batches of {BATCH}"
    own = found.pop("own")
    for name, others in found.items():
        yield compare("repeats", what, name, "repeats", own, others, less_is_better=True)


def repeats(place: Place, start: Start) -> float:
    """Kill whoever asks for packages in the middle, start it again, and count the repeats."""
    with ExitStack() as stack:
        receiver = stack.enter_context(base("counting", place.folder, "/health"))
        process = start(stack, receiver)
        until_asked(receiver, KILLED_AT, process)
        process.kill()
        process.wait()
        until_asked(receiver, CUSTOMERS, start(stack, receiver))
        before = -1.0
        while (seen := float(counts(receiver)["repeats"])) != before:
            before = seen
            time.sleep(QUIET_SECONDS)
        return seen


def until_asked(receiver: Server, customers: int, process: "subprocess.Popen[bytes]") -> None:
    what = f"{customers} are asked for"
    wait_until(lambda: counts(receiver)["customers"] >= customers, what, process, pause=0.02)


def counts(receiver: Server) -> dict[str, int]:
    found: dict[str, int] = call(receiver, "GET", "/counts")
    return found


def _own(
    place: Place, crm: Server, url: str, stack: ExitStack, receiver: Server
) -> "subprocess.Popen[bytes]":
    running = service(
        "integration_service",
        place.folder,
        url,
        CRM_API_URL=crm.url,
        INVENTORY_API_URL=receiver.url,
        BATCH_SIZE=str(BATCH),
        RECONCILE_INTERVAL_SECONDS="0",
    )
    return stack.enter_context(running).process


def _run(
    place: Place, command: Command, stack: ExitStack, receiver: Server
) -> "subprocess.Popen[bytes]":
    with (place.folder / "peers.log").open("ab") as log:
        process = subprocess.Popen(
            command(receiver),
            env=bare_environment() | {"BATCH": str(BATCH)},
            cwd=place.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _script(crm: Server, receiver: Server) -> list[str]:
    """Run the script, which writes nothing down: it asks for all of them again."""
    script = [sys.executable, "-m", "bench.bases.one_by_one"]
    return [*script, crm.url, receiver.url, str(CUSTOMERS), "kept"]
