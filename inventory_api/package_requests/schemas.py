"""What callers send and get about package requests."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from inventory_api.kits.schemas import MOST_LINES, LineOut
from inventory_api.package_requests.models import Status
from service_kit.web.body import LARGEST_BATCH, ItemProblem
from service_kit.web.fields import Code, Instant, Line, Text
from service_kit.web.postal import EXAMPLE, PostalAddress, PostalAddressOut

_UID = "019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c"
# Another one: whoever sends all the examples has no package made for it afterwards.
_ERASED_UID = "019a5d3c-7a11-7cc0-9b0e-000000000041"

# A request that there is not: whoever sends all the examples moves nothing by it.
_NOBODYS_REQUEST = "019a5d3d-10f2-7d52-8f4e-000000000042"
ADDRESS_CHANGE: JsonDict = {
    "customer_id": _UID,
    "ship_to": EXAMPLE,
    "as_of": "2026-01-05T12:00:00Z",
}

Move = Literal["pack", "ship", "deliver", "cancel", "unpack", "return"]
CustomerId = Annotated[
    Line,
    Field(
        min_length=1,
        max_length=64,
        description="The customer it is for: any text; for the CRM's customers, the uid.",
        examples=[_UID],
    ),
]
PackageType = Annotated[Code, Field(min_length=1, max_length=64, examples=["welcome_package"])]


RequestId = Annotated[
    Line,
    Field(min_length=1, max_length=36, description="The package request's id."),
    AfterValidator(str.lower),
]


class PackageRequestNew(BaseModel):
    """A package to request."""

    model_config = ConfigDict(
        extra="forbid",
        str_strip_whitespace=True,
        json_schema_extra={"examples": [{"customer_id": _UID, "customer_name": "Jane Doe"}]},
    )

    customer_id: CustomerId
    package_type: PackageType = "welcome_package"
    occurrence: int = Field(
        1,
        ge=1,
        le=1_000_000,
        strict=True,
        description="Which occurrence of this type, starting at 1.",
    )
    customer_name: Annotated[Line, Field(min_length=1, max_length=200)] | None = None
    note: Annotated[Text, Field(max_length=2000)] | None = None
    ship_to: PostalAddress | None = Field(
        None,
        description="Where it goes. A repeated request with another address changes nothing and is "
        "no conflict: `POST /package-requests/addresses` changes it.",
    )
    ship_to_as_of: Instant | None = Field(
        None,
        description="When that was the customer's address. An older change of address that comes "
        "later is then left out.",
        examples=["2026-01-05T12:00:00Z"],
    )

    @property
    def identity(self) -> tuple[str, str, int]:
        return self.customer_id, self.package_type, self.occurrence


class PackageRequestOut(BaseModel):
    """A package request."""

    model_config = ConfigDict(from_attributes=True)

    request_id: str = Field(max_length=36, examples=["019a5d3d-10f2-7d52-8f4e-7f0b6f2f9c3a"])
    customer_id: str = Field(max_length=64, examples=[_UID])
    package_type: PackageType
    occurrence: int = Field(examples=[1])
    customer_name: str | None = Field(max_length=200, examples=["Jane Doe"])
    note: str | None = Field(max_length=2000, examples=[None])
    ship_to: PostalAddressOut | None = Field(description="Where it goes.")
    status: Status = Field(examples=["pending"])
    to_unpack: bool = Field(
        description="Whether it was cancelled after packing: its goods stay reserved until the box "
        "is emptied and reported with `unpack`.",
        examples=[False],
    )
    lines: list[LineOut] = Field(
        max_length=MOST_LINES, description="What goes into it: the kit of its type at the time."
    )
    created_at: datetime
    updated_at: datetime


class Moves(BaseModel):
    """Package requests, and the step that was taken with each of them."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"move": "pack", "request_ids": [_NOBODYS_REQUEST]}],
        },
    )

    move: Move = Field(description="The step that was taken.")
    request_ids: Annotated[
        list[RequestId], Field(min_length=1, max_length=LARGEST_BATCH, fail_fast=True)
    ]


class AddressChange(BaseModel):
    """A customer's new address."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [ADDRESS_CHANGE]},
    )

    customer_id: CustomerId
    ship_to: PostalAddress | None = Field(description="null where there is none any more.")
    as_of: Instant = Field(
        description="When the customer's address became this: for the CRM's customers, the `time` "
        "of the event. A package request keeps an address that is newer.",
        examples=["2026-01-05T12:00:00Z"],
    )


class Erasure(BaseModel):
    """Which customers were erased."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"customer_ids": [_ERASED_UID, "41"]}]}
    )

    customer_ids: Annotated[
        list[CustomerId],
        Field(
            min_length=1,
            max_length=LARGEST_BATCH,
            fail_fast=True,
            description="Every id that packages may have been requested under: the CRM's uid, and "
            "its integer id as text.",
        ),
    ]
    dry_run: bool = Field(
        False, strict=True, description="Change nothing; answer what would change."
    )


class Erased(BaseModel):
    """What an erasure has changed; after a dry run, what it would change."""

    dry_run: bool
    erased: int = Field(description="How many package requests were changed.", examples=[1])
    customer_ids: list[str] = Field(
        max_length=LARGEST_BATCH,
        description="Customers whose erasure was news, or who had a package request that was "
        "changed. Empty once it is all applied.",
        examples=[[_ERASED_UID]],
    )


class BatchResult(BaseModel):
    """The result of one item of a batch."""

    status: Literal[201, 200, 409, 410, 422] = Field(
        description="410: the customer was erased.", examples=[201]
    )
    package_request: PackageRequestOut | None = Field(None, description="With 201 and 200.")
    problem: ItemProblem | None = Field(None, description="With 409, 410 and 422.")


class AddressResult(BaseModel):
    """What became of one change of address."""

    status: Literal[200, 410, 422] = Field(
        description="410: the customer was erased.", examples=[200]
    )
    updated: int | None = Field(
        None, description="With 200: how many package requests got another address.", examples=[1]
    )
    problem: ItemProblem | None = Field(None, description="With 410 and 422.")


class MoveResult(BaseModel):
    """What became of one package request."""

    status: Literal[200, 404, 409, 410] = Field(
        description="409: it can't take this step now. 410: an Idempotency-Key's first answer "
        "showed one whose customer was erased.",
        examples=[200],
    )
    package_request: PackageRequestOut | None = Field(None, description="With 200.")
    problem: ItemProblem | None = Field(None, description="With 404, 409 and 410.")
