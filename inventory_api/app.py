"""Puts Inventory together."""

from fastapi import FastAPI

from inventory_api.package_requests.router import router as package_requests
from inventory_api.settings import Settings
from service_kit.apps import create_service

DESCRIPTION = """Package requests: one for ever for each customer, type of package and occurrence.

Press **Authorize** and enter a token. In development `clerk123`, `admin123`, `viewer123` and
`integration123` are such tokens, each with the role in its name."""


def create_app(settings: Settings) -> FastAPI:
    return create_service(
        name="inventory_api",
        description=DESCRIPTION,
        settings=settings,
        routers=[package_requests],
    )
