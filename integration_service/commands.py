"""The integration's command line. Exit codes: 0 all is well, 1 something is left, 2 not done."""

import argparse
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from service_kit.process import cli
from service_kit.process.cli import Add, Run, Service
from service_kit.process.environment import Refused

SERVICE = Service(name="integration_service", port=8002)

# Takes the settings, the open database and the options. Returns the exit code.
Action = Callable[[Any, Any, argparse.Namespace], Awaitable[int]]


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(SERVICE, argv, _add)


def _add(add: Add) -> None:
    about = "read the feed to its end, send what is due, then exit; 1 where something is left"
    once = add("run-once", _command(lambda actions: actions.run_once), about)
    about = "show how far the feed is read and what is owed"
    status = add("status", _command(lambda actions: actions.status), about)
    about = "list what is dead until someone retries it; 1 where there is any"
    dead = add("dead-letters", _command(lambda actions: actions.dead_letters), about)
    about = "send deliveries again: some by their customers' uids, or all of a state"
    retry = add("retry", _command(lambda actions: actions.retry), about)
    retry.add_argument("customer_uid", nargs="*", help="whose; none: all that match")
    retry.add_argument("--state", choices=("dead", "retrying"), default="dead")
    retry.add_argument("--error-class", choices=("transient", "refused"))
    retry.add_argument("--limit", type=_positive, default=10_000, help="how many at most")
    retry.add_argument("--dry-run", action="store_true", help="change nothing; say whom")
    about = "compare the CRM's customers with Inventory's requests; 0: everybody has exactly one"
    compare = add("reconcile", _reconcile, about)
    compare.add_argument("--repair", action="store_true", help="enqueue what is missing")
    compare.add_argument(
        "--confirm",
        action="store_true",
        help="with --repair: also when very much is missing, which otherwise waits for this",
    )
    for parser in (once, status, dead, retry, compare):
        parser.add_argument("--json", action="store_true", help="for machines")


def _positive(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100_000:  # noqa: PLR2004 (as the API has it)
        raise argparse.ArgumentTypeError("from 1 to 100000")
    return number


def _command(choose: Callable[[Any], Action]) -> Run:
    """Make a command of one of the actions, which are loaded when it is given."""

    def run(service: Service, options: argparse.Namespace) -> int:
        from integration_service.operations import actions

        return _on_database(service, choose(actions), options)

    return run


def _reconcile(service: Service, options: argparse.Namespace) -> int:
    if options.confirm and not options.repair:
        raise Refused("--confirm goes with --repair")
    return _command(lambda actions: actions.reconcile)(service, options)


def _on_database(service: Service, action: Action, options: argparse.Namespace) -> int:
    """Do a command's work on the database. Raises Refused where it can't be done."""
    from integration_service.ledger.lease import LeaseLost
    from integration_service.reconcile.service import AlreadyRunning
    from integration_service.reconcile.store import RunLost
    from integration_service.targets.failures import CallFailed

    try:
        return cli.with_database(
            service, lambda settings, database: action(settings, database, options)
        )
    except LeaseLost:
        reason = "another process polls this database; it does the work"
    except (AlreadyRunning, RunLost):
        reason = "another comparison runs; the command status has its result"
    except CallFailed as failure:
        reason = f"a remote service can't be used: {failure}"
    raise Refused(reason)
