"""Puts Inventory together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from inventory_api import demo
from inventory_api.books.router import router as books
from inventory_api.items.router import router as items
from inventory_api.kits.router import router as kits
from inventory_api.movements.router import router as movements
from inventory_api.package_requests.router import router as package_requests
from inventory_api.pick_list.router import router as pick_list
from inventory_api.retention import KEPT
from inventory_api.settings import Settings
from inventory_api.tables import Action, audit, stored_answers
from service_kit.web.app import add_demo_data, create_service
from service_kit.web.audit import audit_router

DESCRIPTION = """Package requests: one for ever for each customer, type of package and occurrence;
and the stock that goes into them.

Press **Authorize** and enter a token. In development `clerk123`, `admin123`, `viewer123`,
`agent123` and `integration123` are such tokens, each with the role in its name."""

# Made once: each app of a process has the same.
audit_routes = audit_router(audit, Action, "/audit")


def create_app(settings: Settings) -> FastAPI:
    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        if settings.wants_demo_data:
            await add_demo_data(app.state.database, demo.seed)
        yield

    return create_service(
        name="inventory_api",
        description=DESCRIPTION,
        settings=settings,
        routers=[package_requests, pick_list, items, movements, kits, books, audit_routes],
        running=running,
        stored_answers=stored_answers,
        kept=KEPT,
    )
