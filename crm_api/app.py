"""Puts the CRM together."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from console.app import Console
from console.config import Config, OidcClient
from crm_api import demo
from crm_api.customers.router import router as customers
from crm_api.event_types import Action
from crm_api.feed.router import readers_router as feed_readers
from crm_api.feed.router import router as feed
from crm_api.imports.router import router as imports
from crm_api.imports.router import upload_router
from crm_api.imports.runner import Imports
from crm_api.published.router import asyncapi_router
from crm_api.published.router import router as event_schemas
from crm_api.published.webhooks import router as webhooks
from crm_api.retention import KEPT
from crm_api.sessions.known import KnownLinks, KnownSessions
from crm_api.settings import Settings
from crm_api.stats.router import router as stats
from crm_api.tables import audit, stored_answers
from crm_api.tickets.router import router as tickets
from crm_api.tokens.known import IssuedTokens
from crm_api.tokens.router import router as tokens
from service_kit.process.configured_tokens import demo_token
from service_kit.web.app import add_demo_data, create_service
from service_kit.web.audit import audit_router

DESCRIPTION = """Customers and support tickets, and a feed of everything that happens to them.

[/asyncapi.json](asyncapi.json) describes the feed and the webhooks in AsyncAPI 3.0.

Press **Authorize** and enter a token. In development `agent123`, `admin123`, `viewer123` and
`integration123` are such tokens, each with the role in its name."""

# Made once: each app of a process has the same.
CONSOLE = "/console"
audit_routes = audit_router(audit, Action, "/api/audit")


def create_app(settings: Settings) -> FastAPI:
    issued_tokens = IssuedTokens()

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        if settings.wants_demo_data:
            await add_demo_data(app.state.database, demo.seed, settings.sla_targets)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(issued_tokens.on(app.state.database))
            await stack.enter_async_context(app.state.imports.on(app.state.database))
            if console is not None:
                await stack.enter_async_context(console.running())
            yield

    app = create_service(
        name="crm_api",
        description=DESCRIPTION,
        settings=settings,
        # The schemas before the feed, which would take `schemas` for a position.
        routers=[
            *(customers, tickets, event_schemas, feed, feed_readers, stats, tokens),
            *(imports, upload_router, audit_routes, asyncapi_router),
        ],
        running=running,
        stored_answers=stored_answers,
        prefix="/api",
        find_token=issued_tokens.find,
        kept=KEPT,
    )
    app.webhooks.include_router(webhooks)
    app.state.issued_tokens = issued_tokens
    app.state.imports = Imports(app.state.stopping)
    console = _mount_console(app, settings) if settings.has_console else None
    return app


def _mount_console(app: FastAPI, settings: Settings) -> Console:
    database = app.state.database
    console = Console(
        _config_of(settings),
        app,
        KnownSessions(database),
        KnownLinks(database),
        CONSOLE,
        app.state.stopping,
    )
    app.router.routes.extend(console.routes())
    app.state.pages, app.state.console = CONSOLE, console
    return console


def _config_of(settings: Settings) -> Config:
    demo = dict(settings.tokens()) if settings.uses_demo_tokens else {}
    if demo and settings.inventory_api_url:
        demo["clerk"] = demo_token("clerk")  # of Inventory, where this CRM has no such role
    return Config(
        is_production=settings.environment == "production",
        inventory_url=settings.inventory_api_url,
        integration_url=settings.integration_api_url,
        public_url=settings.public_url,
        ca_file=settings.ca_file,
        oidc=_oidc_client_of(settings),
        demo_tokens={
            role: demo[role] for role in ("agent", "clerk", "operator", "admin") if role in demo
        },
    )


def _oidc_client_of(settings: Settings) -> OidcClient | None:
    """Return the console as a client of the OpenID provider, where it is one."""
    if settings.oidc_client_id is None:
        return None
    assert settings.oidc_issuer is not None, "the settings refuse one without the other"
    secret = settings.oidc_client_secret
    return OidcClient(
        settings.oidc_issuer,
        settings.oidc_client_id,
        None if secret is None else secret.get_secret_value(),
        f"{settings.public_url}{CONSOLE}/signed-in",
        settings.oidc_scopes,
    )
