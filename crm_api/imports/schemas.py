"""What the API says about imports."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_SHOWN = 100

State = Literal["running", "finished", "failed", "interrupted"]


class RefusedRow(BaseModel):
    """Why a row was refused. Its values are in the report alone."""

    line: int = Field(description="The line of the file on which the row begins.", examples=[2])
    column: str = Field(
        max_length=300,
        description="The column at fault, or `all` for the whole row.",
        examples=["email"],
    )
    reason: str = Field(max_length=500, examples=["is no e-mail address"])


class ImportOut(BaseModel):
    """An import, and how far it is."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    state: State = Field(
        description="`running`; `finished`; `failed`, as `problem` says; or `interrupted`: the "
        "service stopped or died meanwhile. Of the last two, rows that were imported stay, and "
        "sending the file again makes nobody twice."
    )
    dry_run: bool = Field(description="Whether nothing is written: the counts say what would be.")
    welcome: bool = Field(description="Whether new customers get a welcome package.")
    actor: str = Field(max_length=100, description="Who sent it.", examples=["admin"])
    request_id: str = Field(
        max_length=128, description="Every change of the import has it in the audit."
    )
    created_at: datetime
    finished_at: datetime | None = Field(description="When it ended, in whichever way.")
    bytes: int = Field(description="The size of the file.")
    rows: int = Field(description="How many rows the file has.", examples=[1])
    rows_read: int = Field(description="How many of them are done.", examples=[1])
    created: int = Field(examples=[1])
    updated: int = Field(description="Known by their external_ref, and changed.")
    unchanged: int = Field(description="Known, and left as they were.")
    refused: int
    packages: int = Field(description="Welcome packages that it causes, or would cause.")
    problem: str | None = Field(max_length=500, description="Why it failed.")
    report_expires_at: datetime = Field(description="The report is kept until then, at most.")


class ImportDetail(ImportOut):
    """An import, how far it is, and the first rows that it has refused."""

    first_refused: Annotated[list[RefusedRow], Field(max_length=MOST_SHOWN)]
