"""Who am I: the route by which a caller asks what its token may do here."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from service_kit.web.auth import GuardedRoute, Principal, needs
from service_kit.web.roles import ROLES

router = APIRouter(route_class=GuardedRoute, tags=["identity"])

AnyCaller = Annotated[Principal, needs()]


class Me(BaseModel):
    """The caller, as this service knows it."""

    name: str = Field(description="The name in the audit.", examples=["web-shop"])
    role: str = Field(examples=["agent"])
    scopes: list[str] = Field(
        max_length=len(ROLES["admin"]),
        description="What the token may do at this service.",
        examples=[["customers:read"]],
    )
    expires_at: datetime | None = Field(
        description="When the token expires; null if it is valid until it is revoked.",
        examples=["2099-12-31T00:00:00Z"],
    )
    service: str = Field(examples=["crm_api"])


@router.get("/me", summary="Who am I?")
async def me(request: Request, who: AnyCaller) -> Me:
    """Show the token's name and role, what it may do at this service, and until when."""
    state = request.app.state
    here = frozenset().union(*state.settings.roles.values())
    return Me(
        name=who.name,
        role=who.role,
        scopes=sorted(who.scopes & here),
        expires_at=who.expires_at,
        service=state.name,
    )
