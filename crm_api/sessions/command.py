"""A one-time link to the console, for somebody who has no token."""

import argparse
import getpass
import logging
import secrets
from typing import TYPE_CHECKING, Any

from service_kit.process import cli
from service_kit.process.cli import Add, Service
from service_kit.process.environment import Refused

if TYPE_CHECKING:
    from crm_api.tokens.schemas import TokenNew
    from service_kit.database import Database

logger = logging.getLogger(__name__)


def add_console_link(add: Add) -> None:
    about = "print a link that signs in to the console, once and within ten minutes"
    parser = add("console-link", console_link, about)
    parser.add_argument(
        "--role", required=True, help="viewer, agent, clerk, operator, integration or admin"
    )
    parser.add_argument(
        "--for", dest="person", metavar="NAME", help="who will use it; by default your account"
    )


def console_link(service: Service, options: argparse.Namespace) -> int:
    """Print a link, and nothing else, on stdout."""
    from crm_api.sessions import service as sessions
    from crm_api.settings import Settings

    settings = cli.prepare(service)
    assert isinstance(settings, Settings)
    if not settings.has_console:
        raise Refused(
            "there is no console: CONSOLE is false, or ALLOWED_HOSTS is not set in production"
        )
    new = _token_asked_for(options)

    async def make(_: Any, database: "Database") -> str:
        return await database.write(sessions.make_link, new)

    secret = cli.with_database(service, make, settings)
    address = settings.public_url or f"http://localhost:{settings.port}"
    logger.info("The link is good for ten minutes, its token, %s, for one hour.", new.name)
    print(f"{address}/console/link?code={secret}")  # noqa: T201 (what the command is for)
    return 0


def _token_asked_for(options: argparse.Namespace) -> "TokenNew":
    from pydantic import ValidationError

    from crm_api.tokens.schemas import TokenNew
    from service_kit.process.settings import explain

    person = options.person or _account()
    # No two tokens have one name.
    name = f"console-link:{person}-{secrets.token_hex(3)}"
    try:
        return TokenNew.model_validate({"name": name, "role": options.role})
    except ValidationError as error:
        raise Refused(explain(error)) from None


def _account() -> str:
    """Name who runs the command; a container's user id may belong to nobody."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"
