"""What Inventory reads from its environment; `.env.example` lists it all."""

from typing import ClassVar

from pydantic import Field

from service_kit.process.settings import DemoDataSettings, Roles

READING = frozenset({"packages:read", "stock:read"})
WRITING = frozenset({"packages:write", "stock:write"})


class Settings(DemoDataSettings):
    roles: ClassVar[Roles] = {
        "clerk": READING | WRITING,
        "admin": READING | WRITING | {"packages:erase", "stock:repair"},
        "viewer": READING,
        "integration": frozenset({"packages:read", "packages:write", "packages:erase"}),
    }

    port: int = Field(8001, ge=1, le=65535, description="Port to listen on.")
    database_url: str = Field(
        "sqlite:///data/inventory.db",
        description="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.",
    )
