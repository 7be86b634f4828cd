"""The API's models of comparisons."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

CONFIRM_COMMAND = "python -m integration_service reconcile --repair --confirm"
FINDINGS_KEPT = 100


class ReconcileRun(BaseModel):
    """One comparison of the CRM's customers with Inventory's package requests."""

    id: int = Field(examples=[1])
    trigger: Literal["api", "cli", "timer"]
    repair: bool = Field(description="Whether missing packages are enqueued.")
    state: Literal["running", "finished", "failed"]
    started_at: datetime
    finished_at: datetime | None
    customers: int = Field(description="Customers in the CRM.")
    packages: int = Field(description="Welcome packages in Inventory.")
    missing: int = Field(description="Customers without the package that they are owed.")
    extra: int = Field(description="Packages of customers that the CRM does not have.")
    double: int = Field(description="Customers with more than one package.")
    erased: int = Field(
        description="Erased customers whose package or name Inventory still has, or whose erasure "
        "it does not know."
    )
    waiting: int = Field(description="Customers whose package or erasure is on its way.")
    skipped: int = Field(description="Customers who are not to get a package.")
    not_owed: int = Field(description="Customers from before START_FROM=now, who are owed none.")
    repaired: int = Field(description="Packages and erasures that were enqueued.")
    held_back: int = Field(
        description="Packages that are not enqueued without confirmation, because they are more "
        "than 20 and more than 5 % of the customers: first check that it is the right Inventory."
    )
    findings: dict[
        Literal["missing", "extra", "double", "erased", "waiting"],
        Annotated[list[str], Field(max_length=FINDINGS_KEPT)],
    ] = Field(
        description=f"The customers' uids, the first {FINDINGS_KEPT} of each kind; the command "
        "prints all."
    )
    error: str | None = Field(description="Why it failed.")

    @property
    def is_exact(self) -> bool:
        """Whether every customer has exactly one, and nobody else has any, the erased least."""
        wrong = self.missing + self.extra + self.double + self.erased + self.waiting
        return self.state == "finished" and not wrong


class Reconciliation(BaseModel):
    """The comparison that is running, and the last one that ended."""

    running: ReconcileRun | None
    last: ReconcileRun | None


class ReconcileOrder(BaseModel):
    """Options of a comparison."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"repair": False}]})

    repair: bool = Field(
        False, strict=True, description="Enqueue missing packages. Dead deliveries are not retried."
    )
    confirm: bool = Field(
        False,
        strict=True,
        description="With `repair`: enqueue even if more than 20 and more than 5 % of the "
        "customers would get a package.",
    )

    @model_validator(mode="after")
    def _confirm_what_is_repaired(self) -> Self:
        if self.confirm and not self.repair:
            raise ValueError("confirm goes with repair")
        return self
