"""Issuing a token on the command line, for when nobody has one yet."""

import argparse
import logging
from typing import TYPE_CHECKING, Any

from service_kit.process import cli
from service_kit.process.cli import Add, Service
from service_kit.process.environment import Refused
from service_kit.process.setting_values import parts

if TYPE_CHECKING:
    from service_kit.database import Database

LONGEST_DAYS = 36_500

logger = logging.getLogger(__name__)


def add_create_token(add: Add) -> None:
    parser = add("create-token", create_token, "issue a token and print it, this once")
    parser.add_argument("name", metavar="NAME", help="who will use it; the audit names it so")
    parser.add_argument(
        "--role", required=True, help="viewer, agent, clerk, operator, integration or admin"
    )
    parser.add_argument(
        "--scopes", type=parts, metavar="A,B", help="a part of the role's scopes, by default all"
    )
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--expires-in", type=int, metavar="DAYS", help="how many days it is good for")
    end.add_argument("--expires-at", metavar="INSTANT", help="as in 2030-01-01T00:00:00Z")


def create_token(service: Service, options: argparse.Namespace) -> int:
    """Print a new token, and nothing else, on stdout; the schema is brought up to date first."""
    from crm_api.tokens import service as tokens
    from service_kit.problems import Problem
    from service_kit.process.logs import new_request_id, use_request_id
    from service_kit.web.auth import COMMAND_LINE

    new = _token_asked_for(options)
    settings = cli.prepare(service)
    cli.migrate_database(service, settings)
    use_request_id(new_request_id())

    async def issue(_: Any, database: "Database") -> Any:
        return await database.write(tokens.issue, new, COMMAND_LINE)

    try:
        issued = cli.with_database(service, issue, settings)
    except Problem as error:
        raise Refused(str(error)) from error
    row = issued.row
    end = f"until {row.expires_at:%Y-%m-%d %H:%M} UTC" if row.expires_at else "until it is revoked"
    logger.info("Token %d has the role %s and is good %s.", row.id, row.role, end)
    print(issued.token)  # noqa: T201 (what the command is for)
    return 0


def _token_asked_for(options: argparse.Namespace) -> Any:
    from pydantic import ValidationError

    from crm_api.tokens.schemas import TokenNew
    from service_kit.process.settings import explain

    asked = {
        "name": options.name,
        "role": options.role,
        "scopes": options.scopes,
        "expires_at": _end(options),
    }
    try:
        return TokenNew.model_validate(asked)
    except ValidationError as error:
        raise Refused(explain(error)) from None


def _end(options: argparse.Namespace) -> Any:
    from datetime import timedelta

    from service_kit.process import clock

    if options.expires_in is None:
        return options.expires_at
    if not 1 <= options.expires_in <= LONGEST_DAYS:
        raise Refused(f"--expires-in takes 1 to {LONGEST_DAYS}")
    return clock.now() + timedelta(days=options.expires_in)
