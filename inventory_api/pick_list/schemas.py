"""What the pick list shows."""

from datetime import datetime

from pydantic import BaseModel, Field

from inventory_api.items.schemas import Sku
from inventory_api.kits.schemas import MOST_LINES, LineOut

MOST_TO_UNPACK = 500


class ToPick(BaseModel):
    """How many of one item to take from the shelf."""

    sku: Sku
    name: str = Field(max_length=200, examples=["Blue mug"])
    quantity: int = Field(examples=[24])


class ToUnpack(BaseModel):
    """A box to empty."""

    request_id: str = Field(max_length=36, examples=["019a5d3d-10f2-7d52-8f4e-7f0b6f2f9c3a"])
    package_type: str = Field(max_length=64, examples=["welcome_package"])
    lines: list[LineOut] = Field(max_length=MOST_LINES, description="What is in it.")
    updated_at: datetime = Field(description="When it was last changed.")


class PickList(BaseModel):
    """What to take from the shelf for all that is to pack, and which boxes to empty."""

    packages: int = Field(description="How many package requests are pending.", examples=[12])
    items: list[ToPick] = Field(description="What they need in all, in the order of the SKUs.")
    to_unpack: list[ToUnpack] = Field(
        max_length=MOST_TO_UNPACK, description=f"The oldest first, {MOST_TO_UNPACK} at most."
    )
