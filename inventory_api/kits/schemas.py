"""What callers send and get about kits."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from inventory_api.items.schemas import Sku

MOST_LINES = 50


class LineOut(BaseModel):
    """An item that goes into a package, and how many of it."""

    model_config = ConfigDict(from_attributes=True)

    sku: Sku = Field(examples=["WELCOME-CARD"])
    quantity: int = Field(examples=[1])


class KitLine(BaseModel):
    """An item that goes into a package, and how many of it."""

    model_config = ConfigDict(extra="forbid")

    sku: Sku
    quantity: Annotated[int, Field(ge=1, le=10_000, strict=True)]


class KitNew(BaseModel):
    """What goes into a package of a type."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"lines": [{"sku": "MUG-BLUE", "quantity": 1}]}]},
    )

    lines: Annotated[list[KitLine], Field(max_length=MOST_LINES, fail_fast=True)]

    @field_validator("lines")
    @classmethod
    def _each_item_once(cls, lines: list[KitLine]) -> list[KitLine]:
        if len({line.sku for line in lines}) != len(lines):
            raise ValueError("names an item twice")
        return lines


class KitOut(BaseModel):
    """What goes into a package of a type, as of now."""

    model_config = ConfigDict(from_attributes=True)

    package_type: str = Field(max_length=64, examples=["welcome_package"])
    version: int = Field(description="Grows by one with each change.", examples=[1])
    lines: Annotated[list[LineOut], Field(max_length=MOST_LINES)]
    created_at: datetime
