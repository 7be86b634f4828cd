"""What Inventory reads from its environment; `.env.example` lists it all."""

from typing import ClassVar

from pydantic import Field

from inventory_api.roles import ROLES
from service_kit.process.settings import DemoDataSettings, Roles


class Settings(DemoDataSettings):
    roles: ClassVar[Roles] = ROLES

    port: int = Field(8001, ge=1, le=65535, description="Port to listen on.")
    database_url: str = Field(
        "sqlite:///data/inventory.db",
        description="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.",
    )
