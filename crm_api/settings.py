"""What the CRM reads from its environment; `.env.example` lists it all."""

from typing import ClassVar

from pydantic import Field

from crm_api.roles import ROLES
from service_kit.settings import Roles, ServiceSettings


class Settings(ServiceSettings):
    roles: ClassVar[Roles] = ROLES

    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    database_url: str = Field(
        "sqlite:///data/crm.db",
        description="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.",
    )
    seed_demo_data: bool | None = Field(
        None,
        description="Whether an empty database starts with demo data; by default in development.",
    )

    @property
    def wants_demo_data(self) -> bool:
        if self.seed_demo_data is None:
            return self.environment == "development"
        return self.seed_demo_data
