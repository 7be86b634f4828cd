"""Puts the integration together: its poller, and the API that shows and steers it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from integration_service.deliveries.router import router as deliveries
from integration_service.ledger.models import Action, audit
from integration_service.operations import metrics
from integration_service.operations.router import router as operations
from integration_service.operations.routes import router as routes
from integration_service.poller.poller import Poller
from integration_service.reconcile.router import router as reconcile
from integration_service.settings import Settings
from service_kit.process import clock
from service_kit.web.app import create_service
from service_kit.web.audit import audit_router

DESCRIPTION = """Finds each new customer of the CRM and has Inventory make one welcome package.

Press **Authorize** and enter a token. In development `admin123` and `viewer123` are such tokens,
each with the role in its name."""


def create_app(settings: Settings) -> FastAPI:
    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        poller = Poller(settings, app.state.database, app.state.stopping)
        app.state.poller = poller
        database = app.state.database
        app.state.metrics.add_shared(lambda: metrics.read(database, clock.now()))
        task = asyncio.create_task(poller.run(), name="The poller")
        app.state.stopping.watch(task)
        app.state.readiness_checks += [
            lambda: "it has died" if task.done() else None,
            poller.trouble,
        ]
        try:
            yield
        finally:
            app.state.stopping.begin()
            await asyncio.gather(task, return_exceptions=True)
            await poller.close()

    return create_service(
        name="integration_service",
        description=DESCRIPTION,
        settings=settings,
        routers=[operations, routes, deliveries, reconcile, audit_router(audit, Action, "/audit")],
        running=running,
    )
