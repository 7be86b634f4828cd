"""Puts the console together as a service of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from console.app import Console
from console.config import Config, OidcClient
from console.standalone.settings import Settings
from console.standalone.store import NoLinks, StoredSessions
from service_kit.process.configured_tokens import demo_token
from service_kit.web.app import create_service

DESCRIPTION = "The console is at /console. It has no API of its own: it asks those of the services."
CONSOLE = "/console"
# Whom the buttons of a development environment sign in as.
_ROLES = ("agent", "clerk", "operator", "admin")


def create_app(settings: Settings) -> FastAPI:
    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        async with console.running():
            yield

    app = create_service(
        name="console", description=DESCRIPTION, settings=settings, routers=[], running=running
    )
    sessions = StoredSessions(app.state.database)
    console = Console(_config_of(settings), None, sessions, NoLinks(), CONSOLE, app.state.stopping)
    app.router.routes.extend(console.routes())
    app.state.pages, app.state.console = CONSOLE, console
    return app


def _config_of(settings: Settings) -> Config:
    is_production = settings.environment == "production"
    return Config(
        is_production=is_production,
        crm_url=settings.crm_api_url,
        inventory_url=settings.inventory_api_url,
        integration_url=settings.integration_api_url,
        public_url=settings.public_url,
        ca_file=settings.ca_file,
        oidc=_oidc_client_of(settings),
        demo_tokens={} if is_production else {role: demo_token(role) for role in _ROLES},
    )


def _oidc_client_of(settings: Settings) -> OidcClient | None:
    if settings.oidc_client_id is None or settings.oidc_issuer is None:
        return None
    secret = settings.oidc_client_secret
    return OidcClient(
        settings.oidc_issuer,
        settings.oidc_client_id,
        None if secret is None else secret.get_secret_value(),
        f"{settings.public_url}{CONSOLE}/signed-in",
        settings.oidc_scopes,
    )
