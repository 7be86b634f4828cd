"""What happens to customers."""

from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import NotRequired, cast

from typing_extensions import TypedDict

from crm_api.customers.models import SHOWN, Customer
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
    """The event; the refusal of the same name is in service.py."""

    erased_at: datetime
    type = action = "customer.erased"

    def data(self) -> ErasedCustomerData:
        return {"id": self.customer.id, "uid": self.customer.uid, "erased_at": self.erased_at}


_shown = attrgetter(*SHOWN)


def _data(customer: Customer) -> CustomerData:
    # A test holds the fields of CustomerData to these columns.
    return cast("CustomerData", dict(zip(SHOWN, _shown(customer), strict=True)))
