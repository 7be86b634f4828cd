"""Puts the CRM together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from crm_api import demo
from crm_api.customers.router import router as customers
from crm_api.event_types import Action
from crm_api.feed.router import readers_router as feed_readers
from crm_api.feed.router import router as feed
from crm_api.settings import Settings
from crm_api.stats.router import router as stats
from crm_api.tables import audit, stored_answers
from crm_api.tickets.router import router as tickets
from crm_api.tokens.known import IssuedTokens
from crm_api.tokens.router import router as tokens
from service_kit.web.app import create_service, retry_while_starting
from service_kit.web.audit import audit_router

DESCRIPTION = """Customers and support tickets, and a feed of everything that happens to them.

Press **Authorize** and enter a token. In development `agent123`, `admin123`, `viewer123` and
`integration123` are such tokens, each with the role in its name."""

# Made once: each app of a process has the same.
audit_routes = audit_router(audit, Action, "/api/audit")


def create_app(settings: Settings) -> FastAPI:
    issued_tokens = IssuedTokens()

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        if settings.wants_demo_data:
            await retry_while_starting(app.state.database.write, demo.seed, settings.sla_targets)
        async with issued_tokens.on(app.state.database):
            yield

    app = create_service(
        name="crm_api",
        description=DESCRIPTION,
        settings=settings,
        routers=[customers, tickets, feed, feed_readers, stats, tokens, audit_routes],
        running=running,
        stored_answers=stored_answers,
        prefix="/api",
        find_token=issued_tokens.find,
    )
    app.state.issued_tokens = issued_tokens
    return app
