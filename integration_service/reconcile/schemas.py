"""What the API says of comparisons."""

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

CONFIRM_COMMAND = "python -m integration_service reconcile --repair --confirm"


class ReconcileRun(BaseModel):
    """One comparison of the CRM's customers with Inventory's package requests."""

    id: int = Field(examples=[1])
    trigger: Literal["api", "cli", "timer"]
    repair: bool = Field(description="Whether it enqueues what is missing.")
    state: Literal["running", "finished", "failed"]
    started_at: datetime
    finished_at: datetime | None
    customers: int = Field(description="How many the CRM has.")
    packages: int = Field(description="How many welcome packages Inventory has.")
    missing: int = Field(description="Customers who have none, though they are owed one.")
    extra: int = Field(description="Customers with a package whom the CRM does not have.")
    double: int = Field(description="Customers who have more than one.")
    erased: int = Field(
        description="Erased customers of whom Inventory has a package to send or the name, or "
        "whose erasure it does not remember."
    )
    waiting: int = Field(description="Customers whose package, or whose erasure, is on its way.")
    skipped: int = Field(description="Customers without one who are to have none.")
    not_owed: int = Field(description="Customers without one from before START_FROM=now.")
    repaired: int = Field(description="How many were enqueued, packages and erasures.")
    held_back: int = Field(
        description="How many are not enqueued by itself, being more than 20 and more than 5 % of "
        "the customers: somebody has to look whether it is the right Inventory, and to confirm."
    )
    findings: dict[Literal["missing", "extra", "double", "erased", "waiting"], list[str]] = Field(
        description="The customers' uids, the first 100 of each; the command line has all."
    )
    error: str | None = Field(description="Why it failed.")

    @property
    def is_exact(self) -> bool:
        """Whether every customer has exactly one, and nobody else has any, the erased least."""
        wrong = self.missing + self.extra + self.double + self.erased + self.waiting
        return self.state == "finished" and not wrong


class Reconciliation(BaseModel):
    """The comparison that runs, and the last one that has ended."""

    running: ReconcileRun | None
    last: ReconcileRun | None


class ReconcileOrder(BaseModel):
    """What a comparison is to do."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"repair": False}]})

    repair: bool = Field(
        False, strict=True, description="Enqueue what is missing. It does not retry what is dead."
    )
    confirm: bool = Field(
        False,
        strict=True,
        description="With `repair`: also when more than 20 and more than 5 % of the customers "
        "would get a package, which otherwise waits for this.",
    )

    @model_validator(mode="after")
    def _confirm_what_is_repaired(self) -> Self:
        if self.confirm and not self.repair:
            raise ValueError("confirm goes with repair")
        return self
