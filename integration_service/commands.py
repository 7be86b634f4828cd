"""The integration's command line. Exit codes: 0 all is well, 1 something is left, 2 not done."""

import argparse
from collections.abc import Sequence
from typing import TypeVar

from service_kit.process import cli
from service_kit.process.cli import Add, Service, Work
from service_kit.process.environment import Refused

T = TypeVar("T")

SERVICE = Service(name="integration_service", port=8002)

EXIT_UNFINISHED = 1


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(SERVICE, argv, _add)


def _add(add: Add) -> None:
    about = "read the feed to its end, send what is due, then exit; 1 where something is left"
    once = add("run-once", run_once, about)
    status = add("status", show_status, "show how far the feed is read and what is owed")
    about = "list what is dead until someone retries it; 1 where there is any"
    dead = add("dead-letters", list_dead, about)
    about = "send deliveries again: some by their customers' uids, or all of a state"
    retry = add("retry", retry_some, about)
    retry.add_argument("customer_uid", nargs="*", help="whose; none: all that match")
    retry.add_argument("--state", choices=("dead", "retrying"), default="dead")
    retry.add_argument("--error-class", choices=("transient", "refused"))
    retry.add_argument("--limit", type=_positive, default=10_000, help="how many at most")
    retry.add_argument("--dry-run", action="store_true", help="change nothing; say whom")
    about = "compare the CRM's customers with Inventory's requests; 0: everybody has exactly one"
    compare = add("reconcile", reconcile, about)
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


def run_once(service: Service, options: argparse.Namespace) -> int:
    """Do what the running service does, once. Refuses while it runs."""
    from integration_service.operations import actions

    status = _run(service, actions.run_once)
    actions.show_status(status, as_json=options.json)
    left = status.deliveries["pending"] + status.deliveries["retrying"]
    return EXIT_UNFINISHED if left or status.feed.lag_events or actions.is_broken(status) else 0


def show_status(service: Service, options: argparse.Namespace) -> int:
    from integration_service.operations import actions

    actions.show_status(_run(service, actions.status), as_json=options.json)
    return 0


def list_dead(service: Service, options: argparse.Namespace) -> int:
    from integration_service.operations import actions

    count = _run(service, lambda _, database: actions.list_dead(database, as_json=options.json))
    return EXIT_UNFINISHED if count else 0


def retry_some(service: Service, options: argparse.Namespace) -> int:
    """Retry one or many. 1 where one of those that were named can't be."""
    from integration_service.operations import actions

    retry = actions.retry_named if options.customer_uid else actions.retry_matching
    is_done = _run(service, lambda _, database: retry(database, options))
    return 0 if is_done else EXIT_UNFINISHED


def reconcile(service: Service, options: argparse.Namespace) -> int:
    """Compare both sides, beside the running service or without it."""
    from integration_service.operations import actions

    if options.confirm and not options.repair:
        raise Refused("--confirm goes with --repair")
    run = _run(service, lambda settings, db: actions.reconcile(settings, db, options))
    return 0 if run.is_exact else EXIT_UNFINISHED


def _run(service: Service, work: Work[T]) -> T:
    """Do a command's work on the database. Raises Refused where it can't be done."""
    from integration_service.ledger.lease import LeaseLost
    from integration_service.reconcile.service import AlreadyRunning
    from integration_service.reconcile.store import RunLost
    from integration_service.targets.failures import CallFailed

    try:
        return cli.with_database(service, work)
    except LeaseLost:
        told = "another process polls this database; it does the work"
    except (AlreadyRunning, RunLost):
        told = "another comparison runs; the command status has its result"
    except CallFailed as failure:
        told = f"a far side can't be used: {failure}"
    raise Refused(told)
