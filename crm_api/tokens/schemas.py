"""What callers send and get about tokens."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.config import JsonDict

from service_kit.web.fields import DistinctName, Instant
from service_kit.web.roles import RESERVED_NAMES, ROLES, Role

Name = Annotated[
    DistinctName,
    Field(
        min_length=1,
        max_length=100,
        description="Who will use it: the caller's name in the audit and in a ticket's history. "
        "No other token has it, not even a revoked one. Its letters are of one script.",
        examples=["web-shop"],
    ),
]
Scope = Annotated[str, Field(max_length=40, pattern=r"^[a-z]+:[a-z]+$")]
_EXAMPLE: JsonDict = {"name": "web-shop", "role": "agent"}


class TokenNew(BaseModel):
    """A token to issue."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    name: Name
    role: Role
    scopes: list[Scope] | None = Field(
        None,
        min_length=1,
        max_length=len(ROLES["admin"]),
        description="A part of the role's scopes; without it all of them.",
        examples=[["customers:read"]],
    )
    expires_at: Instant | None = Field(
        None,
        description="Expiry time; without one the token is valid until it is revoked.",
        examples=["2099-12-31T00:00:00Z"],
    )

    @field_validator("name")
    @classmethod
    def _no_other_callers_name(cls, value: str) -> str:
        if value.lower() in RESERVED_NAMES:
            raise ValueError("must not be a role's name or another that the CRM itself uses")
        return value

    @field_validator("scopes")
    @classmethod
    def _each_once(cls, value: list[str] | None) -> list[str] | None:
        return None if value is None else sorted(set(value))

    @model_validator(mode="after")
    def _scopes_are_of_the_role(self) -> Self:
        if beyond := set(self.scopes or ()) - ROLES[self.role]:
            raise ValueError(f"the role {self.role} does not have {', '.join(sorted(beyond))}")
        return self


class TokenOut(BaseModel):
    """A token without its text, which is not stored."""

    id: int = Field(examples=[1])
    name: str = Field(max_length=100, examples=["web-shop"])
    role: str = Field(max_length=20, examples=["agent"])
    scopes: list[Annotated[str, Field(max_length=40)]] | None = Field(
        max_length=len(ROLES["admin"]),
        description="The part of the role's scopes that it has; null for all of them.",
        examples=[["customers:read"]],
    )
    prefix: str = Field(max_length=12, description="How the token begins.", examples=["crm_4fZk2x"])
    created_at: datetime
    expires_at: datetime | None = Field(examples=["2099-12-31T00:00:00Z"])
    last_used_at: datetime | None = Field(description="Accurate to about a minute.")
    revoked_at: datetime | None


class Introspected(BaseModel):
    """Whose token it is: RFC 7662, section 2.2, and the role. Of an invalid one only `active`."""

    active: bool = Field(description="Whether the token is valid at this moment.")
    username: str | None = Field(None, description="The token's name.", examples=["web-shop"])
    role: str | None = Field(None, examples=["agent"])
    scope: str | None = Field(
        None, description="What it may do, separated by spaces.", examples=["customers:read"]
    )
    token_type: Literal["Bearer"] | None = None
    sub: str | None = Field(None, description="Which token it is.", examples=["token:1"])
    exp: int | None = Field(
        None, description="When it expires, in seconds since 1970; absent if it does not."
    )


class TokenIssued(TokenOut):
    """A token that was just issued."""

    token: str | None = Field(
        description="Shown this once; null when the answer is a repeated one.",
        examples=["crm_4fZk2xA0vJ8eQy3LrTn6WbHs1UdGpMc9ViXoEz5KqRfYtBa0Cw7"],
    )
