"""What callers send and get about items."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from service_kit.web.fields import Code, Line

MOST = 1_000_000_000

Sku = Annotated[Code, Field(min_length=1, max_length=64, examples=["MUG-BLUE"])]
ItemName = Annotated[Line, Field(min_length=1, max_length=200, examples=["Blue mug"])]
ReorderLevel = Annotated[
    int,
    Field(
        ge=0,
        le=MOST,
        strict=True,
        description="Reorder when fewer than this are available; 0 for never.",
        examples=[20],
    ),
]


class ItemNew(BaseModel):
    """What a caller sends to add an item."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"sku": "PEN-RED", "name": "Red pen", "on_hand": 100, "reorder_level": 20}]
        },
    )

    sku: Sku
    name: ItemName
    tracked: bool = Field(True, strict=True, description="Whether its stock is counted.")
    on_hand: int = Field(0, ge=0, le=MOST, strict=True, description="How many there are.")
    reorder_level: ReorderLevel = 0

    @field_validator("on_hand")
    @classmethod
    def _counted_where_tracked(cls, value: int, info: Any) -> int:
        if value and not info.data.get("tracked", True):
            raise ValueError("an untracked item has no stock to count")
        return value


class ItemChange(BaseModel):
    """What a caller sends to change an item; its stock changes by movements alone."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reorder_level": 30}]}
    )

    name: ItemName | None = None
    reorder_level: ReorderLevel | None = None

    @field_validator("name", "reorder_level")
    @classmethod
    def _never_empty(cls, value: object) -> object:
        if value is None:
            raise ValueError("can be changed, not emptied")
        return value

    def changes(self) -> dict[str, Any]:
        return self.model_dump(include=self.model_fields_set)


class ItemOut(BaseModel):
    """An item and its levels."""

    model_config = ConfigDict(from_attributes=True)

    sku: Sku
    name: str = Field(max_length=200, examples=["Blue mug"])
    tracked: bool
    on_hand: int = Field(description="How many are here.", examples=[100])
    reserved: int = Field(description="How many of them are reserved.", examples=[40])
    available: int = Field(description="How many are not reserved.", examples=[60])
    reorder_level: int = Field(examples=[20])
    created_at: datetime
    updated_at: datetime


class MovementNew(BaseModel):
    """What a caller sends when stock came in, went out or was counted."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"quantity": 50, "reason": "delivery 4711"}]},
    )

    quantity: int = Field(
        ge=-MOST,
        le=MOST,
        strict=True,
        description="The change in stock; negative where it shrinks.",
    )
    reason: Annotated[Line, Field(min_length=1, max_length=100)]

    @field_validator("quantity")
    @classmethod
    def _moves(cls, value: int) -> int:
        if value == 0:
            raise ValueError("must not be 0")
        return value


class MovementOut(BaseModel):
    """One row of the ledger."""

    id: int
    on_hand_delta: int = Field(examples=[50])
    reserved_delta: int = Field(examples=[0])
    reason: str = Field(max_length=100, examples=["delivery 4711"])
    reference: str | None = Field(max_length=36, description="The package request it was for.")
    actor: str = Field(max_length=100, examples=["clerk"])
    at: datetime
