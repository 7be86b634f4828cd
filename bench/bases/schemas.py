"""The CRM's customer, as a tutorial would write it."""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, EmailStr


class CustomerNew(BaseModel):
    name: str
    email: EmailStr
    company: str | None = None
    phone: str | None = None
    external_ref: str | None = None


class CustomerOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    uid: str
    name: str
    email: str
    company: str | None
    phone: str | None
    external_ref: str | None
    created_at: datetime
    updated_at: datetime


def example(number: int) -> CustomerOut:
    now = datetime.now(UTC)
    return CustomerOut(
        id=number,
        uid=f"00000000-0000-7000-8000-{number:012}",
        name=f"Customer {number}",
        email=f"customer{number}@example.com",
        company=None,
        phone=None,
        external_ref=None,
        created_at=now,
        updated_at=now,
    )
