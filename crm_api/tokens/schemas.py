"""What callers send and get about tokens."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.config import JsonDict

from crm_api.roles import ROLES, Role
from service_kit.web.fields import Instant, Line

# Names that appear in the audit for callers without an issued token.
RESERVED = frozenset(ROLES) | {"anonymous", "command-line", "demo-data", "import-customers"}

Name = Annotated[
    Line,
    Field(
        min_length=1,
        max_length=100,
        description="Who will use it: the caller's name in the audit and in a ticket's history.",
        examples=["web-shop"],
    ),
]
_EXAMPLE: JsonDict = {"name": "web-shop", "role": "agent"}


class TokenNew(BaseModel):
    """A token to issue."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    name: Name
    role: Role
    expires_at: Instant | None = Field(
        None,
        description="Expiry time; without one the token is valid until it is revoked.",
        examples=["2099-12-31T00:00:00Z"],
    )

    @field_validator("name")
    @classmethod
    def _no_other_callers_name(cls, value: str) -> str:
        if value.lower() in RESERVED:
            raise ValueError("must not be a role's name or another that the CRM itself uses")
        return value


class TokenOut(BaseModel):
    """A token without its text, which is not stored."""

    id: int = Field(examples=[1])
    name: str = Field(examples=["web-shop"])
    role: str = Field(examples=["agent"])
    prefix: str = Field(description="How the token begins.", examples=["crm_4fZk2x"])
    created_at: datetime
    expires_at: datetime | None = Field(examples=["2099-12-31T00:00:00Z"])
    last_used_at: datetime | None = Field(description="Accurate to about a minute.")
    revoked_at: datetime | None


class TokenIssued(TokenOut):
    """A token that was just issued."""

    token: str | None = Field(
        description="Shown this once; null when the answer is a repeated one.",
        examples=["crm_4fZk2xA0vJ8eQy3LrTn6WbHs1UdGpMc9ViXoEz5KqRfYtBa0Cw7"],
    )
