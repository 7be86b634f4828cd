"""The integration's command line. Exit codes: 0 all is well, 1 something is left, 2 not done."""

import argparse
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from service_kit.process import cli, copies, prune
from service_kit.process.cli import Add, Run, Service
from service_kit.process.environment import Refused

SERVICE = Service(name="integration_service", port=8002)
WELCOME_ROUTE = "welcome-package"

# Takes the settings, the open database and the options. Returns the exit code.
Action = Callable[[Any, Any, argparse.Namespace], Awaitable[int]]


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(SERVICE, argv, _add)


def _add(add: Add) -> None:
    copies.add_commands(add)
    prune.add_prune(add)
    copies.add_verify(add)
    about = "read the feed to its end, send what is due, then exit; 1 where something is left"
    once = add("run-once", _command(lambda actions: actions.run_once), about)
    about = "show how far the feed is read and what is owed"
    status = add("status", _command(lambda actions: actions.status), about)
    about = "list what is dead until someone retries it; 1 where there is any"
    dead = add("dead-letters", _command(lambda actions: actions.dead_letters), about)
    about = "send deliveries again: some by their customers' uids, or all of a state"
    retry = add("retry", _command(lambda actions: actions.retry), about)
    retry.add_argument(
        "customer_uid",
        nargs="*",
        help="whose, or with --route of which events; none: all that match",
    )
    retry.add_argument("--route", help="of which route; else the welcome packages', or of all")
    retry.add_argument("--state", choices=("dead", "retrying"), default="dead")
    retry.add_argument("--error-class", choices=("transient", "refused"))
    retry.add_argument("--limit", type=_positive, default=10_000, help="how many at most")
    retry.add_argument("--dry-run", action="store_true", help="change nothing; say whom")
    about = "compare the CRM with Inventory, or with what a webhook was owed; 0: nothing is wrong"
    compare = add("reconcile", _reconcile, about)
    compare.add_argument("--route", help="a webhook's, whose deliveries to compare with the feed")
    compare.add_argument("--repair", action="store_true", help="enqueue what is missing")
    compare.add_argument(
        "--confirm",
        action="store_true",
        help="with --repair: also when very much is missing, which otherwise waits for this",
    )
    for parser in (once, status, dead, retry, compare):
        parser.add_argument("--json", action="store_true", help="for machines")
    _add_routes(add)


def _add_routes(add: Add) -> None:
    about = "show, check, try or accept what events lead to"
    actions = add("routes", _on_routes, about).add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )

    def action(name: str, about: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=about, description=about)

    action("default", "print the built-in route as a file to begin with; needs no database")
    check = action("check", "show the routes of a file; 1 where it has mistakes; needs no database")
    trial = action("test", "say what a file would send of the past feed; nothing is sent")
    for parser in (check, trial):
        parser.add_argument("file", type=Path, metavar="FILE", help="as in ROUTES_FILE")
    trial.add_argument(
        "--since", type=_position, metavar="POSITION", help="behind which to begin; else the oldest"
    )
    trial.add_argument(
        "--limit", type=_positive, default=100, help="how many to list of each route"
    )
    shown = action("list", "show how far each route is, and what it owes")
    action("accept", "let ROUTES_FILE take names away while it brings new ones")
    for parser in (trial, shown):
        parser.add_argument("--json", action="store_true", help="for machines")


def _on_routes(service: Service, options: argparse.Namespace) -> int:
    from integration_service.operations import route_commands
    from integration_service.targets.failures import CallFailed

    run: Run = getattr(route_commands, options.action)
    try:
        return run(service, options)
    except CallFailed as failure:
        raise Refused(f"the CRM can't be used: {failure}") from None


def _position(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError("a position of the feed, 0 or more")
    return number


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
    if options.route in {None, WELCOME_ROUTE}:
        return _command(lambda actions: actions.reconcile)(service, options)
    if options.confirm:
        raise Refused("--confirm is for packages; a webhook's repair needs none")
    return _command(lambda actions: actions.reconcile_route)(service, options)


def _on_database(service: Service, action: Action, options: argparse.Namespace) -> int:
    """Do a command's work on the database. Raises Refused where it can't be done."""
    from integration_service.ledger.lease import LeaseLost
    from integration_service.reconcile.service import AlreadyRunning
    from integration_service.reconcile.store import RunLost
    from integration_service.reconcile.webhooks import RouteNotRead
    from integration_service.targets.failures import CallFailed

    try:
        return cli.with_database(
            service, lambda settings, database: action(settings, database, options)
        )
    except LeaseLost:
        reason = "another process polls this database; it does the work"
    except (AlreadyRunning, RunLost):
        reason = "another comparison runs; the command status has its result"
    except RouteNotRead as unread:
        reason = str(unread)
    except CallFailed as failure:
        reason = f"a remote service can't be used: {failure}"
    raise Refused(reason)
