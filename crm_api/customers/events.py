"""What happens to customers."""

from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import ClassVar, NotRequired, cast

from typing_extensions import TypedDict

from crm_api.customers.models import SHOWN, Customer
from crm_api.events import Event
from service_kit.web.postal import PostalAddressData


class CustomerData(TypedDict):
    """How a customer looks after the change. Erasing one blanks what is personal, here as well.

    Events from before customers had an `address` lack it.
    """

    id: int
    uid: str
    name: str
    email: str
    company: str | None
    phone: str | None
    external_ref: str | None
    metadata: dict[str, str]
    address: NotRequired[PostalAddressData | None]
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


_NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
_JANE: CustomerData = {
    "id": 3,
    "uid": "019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c",
    "name": "Jane Doe",
    "email": "jane.doe@example.com",
    "company": "Example Ltd",
    "phone": "+44 20 7946 0000",
    "external_ref": "shop-1001",
    "metadata": {"plan": "basic"},
    "address": {
        "lines": ["1 High Street"],
        "postal_code": "EC1A 1BB",
        "city": "London",
        "region": "Greater London",
        "country": "GB",
    },
    "created_at": datetime(2025, 11, 3, 8, 15, tzinfo=UTC),
    "updated_at": _NOW,
}


@dataclass(frozen=True, slots=True)
class _OfCustomer(Event):
    customer: Customer

    @property
    def subject(self) -> str:
        return self.customer.uid


class CustomerCreated(_OfCustomer):
    """A customer was registered."""

    type = action = "customer.created"
    example: ClassVar[NewCustomerData] = {**_JANE, "created_at": _NOW, "welcome": False}

    def data(self) -> NewCustomerData:
        data = cast("NewCustomerData", _data(self.customer))
        if not self.customer.welcome:
            data["welcome"] = False
        return data


class CustomerUpdated(_OfCustomer):
    """A customer's data was changed."""

    type = action = "customer.updated"
    example: ClassVar[CustomerData] = _JANE

    def data(self) -> CustomerData:
        return _data(self.customer)


@dataclass(frozen=True, slots=True)
class CustomerErased(_OfCustomer):  # the event; service.py has the refusal of the same name
    """A customer was erased: forget what you know about the person."""

    erased_at: datetime
    type = action = "customer.erased"
    example: ClassVar[ErasedCustomerData] = {
        "id": _JANE["id"],
        "uid": _JANE["uid"],
        "erased_at": _NOW,
    }

    def data(self) -> ErasedCustomerData:
        return {"id": self.customer.id, "uid": self.customer.uid, "erased_at": self.erased_at}


_shown = attrgetter(*SHOWN)


def _data(customer: Customer) -> CustomerData:
    # A test holds the fields of CustomerData to these columns.
    return cast("CustomerData", dict(zip(SHOWN, _shown(customer), strict=True)))
