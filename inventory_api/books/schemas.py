"""What a check of the books answers."""

from typing import Literal

from pydantic import BaseModel, Field

from inventory_api.items.schemas import Sku


class Difference(BaseModel):
    """A difference between two numbers that should agree."""

    kind: Literal["on_hand", "reserved", "promised", "reservations", "orphaned"] = Field(
        description="on_hand and reserved: a level against its ledger. promised: what is reserved "
        "against what live requests need. reservations: their rows against the same. orphaned: "
        "rows that no live request needs."
    )
    sku: Sku
    level: int = Field(description="The recorded number.", examples=[7])
    should_be: int = Field(description="The sum of its ledger, or of live requests.")


class Verification(BaseModel):
    """Whether the books balance."""

    balanced: bool
    items_checked: int
    differences: list[Difference]


class Repair(BaseModel):
    """What was repaired."""

    repaired: list[Difference]
    verification: Verification


class Stats(BaseModel):
    """Counts for a dashboard."""

    package_requests: dict[str, int] = Field(description="How many there are in each status.")
    low_stock: list[Sku] = Field(description="SKUs of which fewer are available than their level.")
