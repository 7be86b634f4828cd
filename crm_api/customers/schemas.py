"""What callers send and get about customers."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator
from pydantic.config import JsonDict

from crm_api.customers.addresses import LONGEST, Address
from service_kit.web.body import ItemProblem
from service_kit.web.fields import Line
from service_kit.web.hot import fields_of
from service_kit.web.postal import PostalAddress, PostalAddressOut

Name = Annotated[Line, Field(min_length=1, max_length=200, examples=["Jane Doe"])]
Email = Annotated[Address, Field(max_length=LONGEST, examples=["jane.doe@example.com"])]
Company = Annotated[Line, Field(min_length=1, max_length=200, examples=["Example Ltd"])]
Phone = Annotated[Line, Field(min_length=1, max_length=50, examples=["+44 20 7946 0000"])]
ExternalRef = Annotated[
    Line,
    Field(
        min_length=1,
        max_length=200,
        description="The customer's key in the system it came from; unique.",
        examples=["shop-1001"],
    ),
]
MetadataKey = Annotated[Line, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[Line, StringConstraints(max_length=500)]
Metadata = Annotated[
    dict[MetadataKey, MetadataValue], Field(max_length=20, examples=[{"plan": "basic"}])
]

_EXAMPLE: JsonDict = {"name": "Jane Doe", "email": "jane.doe@example.com"}


class CustomerNew(BaseModel):
    """What a caller sends to register a customer."""

    model_config = ConfigDict(
        extra="forbid", str_strip_whitespace=True, json_schema_extra={"examples": [_EXAMPLE]}
    )

    name: Name
    email: Email
    company: Company | None = None
    phone: Phone | None = None
    external_ref: ExternalRef | None = None
    metadata: Metadata = {}
    address: PostalAddress | None = None


class CustomerPut(CustomerNew):
    """A customer to create or update by its external_ref."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "Grace Hopper", "email": "grace.hopper@example.com"}]
        }
    )


class CustomerChange(BaseModel):
    """What a caller sends to change a customer: the fields to change, and null to empty one."""

    model_config = ConfigDict(
        extra="forbid",
        str_strip_whitespace=True,
        json_schema_extra={"examples": [{"company": "Example Ltd"}]},
    )

    name: Name | None = None
    email: Email | None = None
    company: Company | None = None
    phone: Phone | None = None
    external_ref: ExternalRef | None = None
    metadata: Metadata | None = None
    address: PostalAddress | None = Field(None, description="Replaced as a whole.")

    @field_validator("name", "email", "metadata")
    @classmethod
    def _never_empty(cls, value: object) -> object:
        if value is None:
            raise ValueError("can be changed, not emptied")
        return value

    def changes(self) -> dict[str, Any]:
        return self.model_dump(include=self.model_fields_set)


class CustomerOut(BaseModel):
    """A customer."""

    model_config = ConfigDict(from_attributes=True)

    id: int = Field(description="This CRM's own number; never used again.", examples=[3])
    uid: str = Field(
        max_length=36,
        description="What other systems store.",
        examples=["019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c"],
    )
    name: str = Field(max_length=200, examples=["Jane Doe"])
    email: str = Field(max_length=LONGEST, examples=["jane.doe@example.com"])
    company: str | None = Field(max_length=200, examples=["Example Ltd"])
    phone: str | None = Field(max_length=50, examples=["+44 20 7946 0000"])
    external_ref: str | None = Field(max_length=200, examples=["shop-1001"])
    metadata: dict[str, Annotated[str, Field(max_length=500)]] = Field(examples=[{"plan": "basic"}])
    address: PostalAddressOut | None
    created_at: datetime
    updated_at: datetime


as_shown = fields_of(CustomerOut)


class BatchResult(BaseModel):
    """The result of one item of a batch."""

    status: Literal[201, 409, 410, 422] = Field(
        description="410: an Idempotency-Key's first answer had a customer here who was erased.",
        examples=[201],
    )
    customer: CustomerOut | None = Field(None, description="With 201.")
    problem: ItemProblem | None = Field(None, description="With 409, 410 and 422.")
