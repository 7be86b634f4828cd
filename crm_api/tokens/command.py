"""Issuing a token on the command line, for when nobody has one yet."""

import argparse
import logging
from typing import Any

from service_kit.process import cli as commands
from service_kit.process.cli import Service

LONGEST_DAYS = 36_500

logger = logging.getLogger(__name__)


def add_create_token(found: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "issue a token and print it, this once"
    parser = found.add_parser("create-token", help=about, description=about)
    parser.add_argument("name", metavar="NAME", help="who will use it; the audit names it so")
    parser.add_argument("--role", required=True, help="agent, admin, viewer or integration")
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--expires-in", type=int, metavar="DAYS", help="how many days it is good for")
    end.add_argument("--expires-at", metavar="INSTANT", help="as in 2030-01-01T00:00:00Z")
    parser.set_defaults(run=create_token)


def create_token(service: Service, options: argparse.Namespace) -> int:
    """Print a new token, and nothing else, on stdout; the schema is brought up to date first."""
    import asyncio

    from pydantic import ValidationError

    from crm_api.tokens.schemas import TokenNew
    from service_kit.database import DatabaseUnavailable
    from service_kit.process.settings import explain
    from service_kit.web.problems import Problem

    try:
        new = TokenNew.model_validate(
            {"name": options.name, "role": options.role, "expires_at": _end(options)}
        )
    except ValidationError as error:
        return commands.refuse(service, explain(error))
    except ValueError as error:
        return commands.refuse(service, str(error))
    if (code := commands.migrate(service, options)) != 0:
        return code
    try:
        issued = asyncio.run(_issue(service.settings().database_url, new))
    except DatabaseUnavailable as error:
        return commands.refuse_database(service, error)
    except Problem as error:
        return commands.refuse(service, str(error))
    row = issued.row
    end = f"until {row.expires_at:%Y-%m-%d %H:%M} UTC" if row.expires_at else "until it is revoked"
    logger.info("Token %d has the role %s and is good %s.", row.id, row.role, end)
    print(issued.token)  # noqa: T201 (what the command is for)
    return 0


def _end(options: argparse.Namespace) -> Any:
    from datetime import timedelta

    from service_kit.process import clock

    if options.expires_in is None:
        return options.expires_at
    if not 1 <= options.expires_in <= LONGEST_DAYS:
        raise ValueError(f"--expires-in takes 1 to {LONGEST_DAYS}")
    return clock.now() + timedelta(days=options.expires_in)


async def _issue(url: str, new: Any) -> Any:
    from crm_api.tokens import service
    from service_kit.database import open_database
    from service_kit.process.logs import new_request_id, use_request_id
    from service_kit.web.auth import Principal

    use_request_id(new_request_id())
    database = open_database(url, "crm_api")
    await database.open()
    try:
        return await database.write(
            service.issue, new, Principal("command-line", "admin", frozenset())
        )
    finally:
        await database.close()
