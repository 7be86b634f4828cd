"""What callers send and get about package requests."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from inventory_api.kits.schemas import LineOut
from service_kit.batch import ItemProblem
from service_kit.fields import Line, Text

_UID = "019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c"

Status = Literal[
    "pending", "backordered", "packed", "shipped", "delivered", "cancelled", "returned"
]
Move = Literal["pack", "ship", "deliver", "cancel", "return"]
CustomerId = Annotated[
    Line,
    Field(
        min_length=1,
        max_length=64,
        description="Whom it is for: any text; the CRM's customers go by their uid.",
        examples=[_UID],
    ),
]
PackageType = Annotated[
    Line,
    Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$", examples=["welcome_package"]),
]


class PackageRequestNew(BaseModel):
    """What a caller sends to have a package made."""

    model_config = ConfigDict(
        extra="forbid",
        str_strip_whitespace=True,
        json_schema_extra={"examples": [{"customer_id": _UID, "customer_name": "Jane Doe"}]},
    )

    customer_id: CustomerId
    package_type: PackageType = "welcome_package"
    occurrence: int = Field(
        1, ge=1, le=1_000_000, strict=True, description="The how manieth of its type."
    )
    customer_name: Annotated[Line, Field(min_length=1, max_length=200)] | None = None
    note: Annotated[Text, Field(max_length=2000)] | None = None

    @property
    def identity(self) -> tuple[str, str, int]:
        return self.customer_id, self.package_type, self.occurrence


class PackageRequestOut(BaseModel):
    """A package request."""

    model_config = ConfigDict(from_attributes=True)

    request_id: str = Field(examples=["019a5d3d-10f2-7d52-8f4e-7f0b6f2f9c3a"])
    customer_id: str = Field(examples=[_UID])
    package_type: str = Field(examples=["welcome_package"])
    occurrence: int = Field(examples=[1])
    customer_name: str | None = Field(examples=["Jane Doe"])
    note: str | None = Field(examples=[None])
    status: Status = Field(examples=["pending"])
    lines: list[LineOut] = Field(description="What goes into it: the kit of its type at the time.")
    created_at: datetime
    updated_at: datetime


class Erasure(BaseModel):
    """Whose personal fields are to be blanked."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"customer_ids": [_UID]}]}
    )

    customer_ids: Annotated[list[CustomerId], Field(min_length=1, max_length=100)]


class Erased(BaseModel):
    """What was blanked."""

    erased: int = Field(description="How many package requests were changed.", examples=[1])


class BatchResult(BaseModel):
    """What became of one item of a batch."""

    status: Literal[201, 200, 409, 410, 422] = Field(
        description="410: the customer was erased since this Idempotency-Key was first used.",
        examples=[201],
    )
    package_request: PackageRequestOut | None = Field(None, description="With 201 and 200.")
    problem: ItemProblem | None = Field(None, description="With 409, 410 and 422.")
