"""What happens to customers."""

from dataclasses import dataclass
from datetime import datetime
from typing import NotRequired, cast

from typing_extensions import TypedDict

from crm_api.customers.models import Customer
from crm_api.events import Event


class CustomerData(TypedDict):
    """How a customer looks after the change. Erasing one blanks what is personal, here as well."""

    id: int
    uid: str
    name: str
    email: str
    company: str | None
    phone: str | None
    external_ref: str | None
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime


class NewCustomerData(CustomerData):
    """A new customer; `welcome` is false where no welcome package is wanted, else left out."""

    welcome: NotRequired[bool]


class ErasedCustomerData(TypedDict):
    """What remains of an erased customer."""

    id: int
    uid: str
    erased_at: datetime


@dataclass(frozen=True, slots=True)
class _OfCustomer(Event):
    customer: Customer

    @property
    def subject(self) -> str:
        return self.customer.uid


class CustomerCreated(_OfCustomer):
    type = action = "customer.created"

    def data(self) -> NewCustomerData:
        data = cast("NewCustomerData", _data(self.customer))
        if not self.customer.welcome:
            data["welcome"] = False
        return data


class CustomerUpdated(_OfCustomer):
    type = action = "customer.updated"

    def data(self) -> CustomerData:
        return _data(self.customer)


@dataclass(frozen=True, slots=True)
class CustomerErased(_OfCustomer):
    erased_at: datetime
    type = action = "customer.erased"

    def data(self) -> ErasedCustomerData:
        return {"id": self.customer.id, "uid": self.customer.uid, "erased_at": self.erased_at}


def _data(customer: Customer) -> CustomerData:
    return {
        "id": customer.id,
        "uid": customer.uid,
        "name": customer.name,
        "email": customer.email,
        "company": customer.company,
        "phone": customer.phone,
        "external_ref": customer.external_ref,
        "metadata": customer.metadata,
        "created_at": customer.created_at,
        "updated_at": customer.updated_at,
    }
