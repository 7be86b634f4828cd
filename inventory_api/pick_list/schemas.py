"""What the pick list shows."""

from datetime import datetime

from pydantic import BaseModel, Field

from inventory_api.kits.schemas import LineOut


class ToPick(BaseModel):
    """How many of one item to take from the shelf."""

    sku: str = Field(examples=["MUG-BLUE"])
    name: str = Field(examples=["Blue mug"])
    quantity: int = Field(examples=[24])


class ToUnpack(BaseModel):
    """A box to empty."""

    request_id: str = Field(examples=["019a5d3d-10f2-7d52-8f4e-7f0b6f2f9c3a"])
    package_type: str = Field(examples=["welcome_package"])
    lines: list[LineOut] = Field(description="What is in it.")
    updated_at: datetime = Field(description="When it was last changed.")


class PickList(BaseModel):
    """What to take from the shelf for all that is to pack, and which boxes to empty."""

    packages: int = Field(description="How many package requests are pending.", examples=[12])
    items: list[ToPick] = Field(description="What they need in all, in the order of the SKUs.")
    to_unpack: list[ToUnpack] = Field(description="The oldest first, 500 at most.")
