"""Puts the integration together: its poller, and the API that shows and steers it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from integration_service.deliveries.router import of_routes
from integration_service.deliveries.router import router as deliveries
from integration_service.ledger.models import Action, audit
from integration_service.operations import metrics
from integration_service.operations.router import router as operations
from integration_service.operations.routes import router as steering
from integration_service.poller.poller import Poller
from integration_service.reconcile.router import router as reconcile
from integration_service.retention import KEPT
from integration_service.settings import Settings
from integration_service.targets.registry import check_webhooks
from service_kit.process import clock
from service_kit.web.app import create_service
from service_kit.web.audit import audit_router

DESCRIPTION = """Finds each new customer of the CRM and has Inventory make one welcome package; and
reports events of the CRM to webhooks, where it has routes for that.

Press **Authorize** and enter a token. In development `admin123`, `viewer123` and `agent123` are
such tokens, each with the role in its name."""

# Made once: each app of a process has the same.
audit_routes = audit_router(audit, Action, "/audit")


def create_app(settings: Settings) -> FastAPI:
    """Make the app of one process. Raises Refused for a file of routes that can't be used."""
    routes = settings.read_routes()
    check_webhooks(settings, routes)

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        poller = Poller(settings, app.state.database, app.state.stopping, routes)
        app.state.poller = poller
        app.state.routes = {route.name: route for route in routes}
        database = app.state.database
        app.state.metrics.add_shared(lambda: metrics.read(database, routes, clock.now()))
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
        routers=[operations, steering, of_routes, deliveries, reconcile, audit_routes],
        running=running,
        kept=KEPT,
    )
