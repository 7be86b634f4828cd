"""What the integration asks of Inventory: one package request for each customer, in batches."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.trace import SpanKind
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from integration_service.links.failures import CallFailed, Misconfigured, Transient, of_item
from integration_service.links.link import Link
from integration_service.links.lists import ListPage, PackageRequest, read_page
from service_kit.process import tracing

PACKAGE_TYPE = "welcome_package"
_CREATED_OR_THERE = frozenset({200, 201})
_REQUESTS = TypeAdapter(list[PackageRequest])
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,36}")


class _Erased(BaseModel):
    model_config = ConfigDict(strict=True)

    dry_run: bool
    customer_ids: list[str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A package for one customer. The same customer always wants the same package."""

    customer_uid: str
    customer_name: str | None
    traceparent: str | None = None

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "customer_id": self.customer_uid,
            "package_type": PACKAGE_TYPE,
            "occurrence": 1,
        }
        if self.customer_name is not None:
            document["customer_name"] = self.customer_name
        return document


@dataclass(frozen=True, slots=True)
class Made:
    """The package request is there."""

    status: int
    request_id: str


# What became of one: made, or why not. A failure is returned, since it spoils no other.
Result = Made | CallFailed


class InventoryClient:
    """Has packages made."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def request_packages(self, wanted: Sequence[Wanted], *, once: bool) -> list[Result]:
        """Ask for a package each. Raises CallFailed when the answer as a whole is none."""
        traced = [item.traceparent for item in wanted]
        size = {"messaging.batch.message_count": len(wanted)}
        with tracing.span("send package requests", SpanKind.PRODUCER, traced, **size):
            answer = await self._link.call(
                "POST",
                "/package-requests/batch",
                body=[item.document() for item in wanted],
                once=once,
            )
        if not isinstance(answer.body, list) or len(answer.body) != len(wanted):
            raise Misconfigured("its answer is not one result an item", status=answer.status)
        return [_result(item, given) for item, given in zip(wanted, answer.body, strict=True)]

    async def erase(self, customer_ids: Sequence[str], *, dry_run: bool = False) -> set[str]:
        """Have customers erased, by any of their ids. Raises CallFailed.

        Returns those for whom this changed something, or in a dry run would change something.
        """
        body = {"customer_ids": list(customer_ids), "dry_run": dry_run}
        answer = await self._link.call("POST", "/package-requests/erasures", body=body)
        try:
            told = _Erased.model_validate(answer.body)
        except ValidationError:
            told = None
        if told is None or told.dry_run is not dry_run:
            raise Transient("its answer does not say what was erased", status=answer.status)
        return set(told.customer_ids)

    async def requests(self, cursor: str | None) -> ListPage[PackageRequest]:
        """Read a page of all welcome packages. Raises CallFailed."""
        return await read_page(
            self._link, "/package-requests", _REQUESTS, cursor, package_type=PACKAGE_TYPE
        )

    async def count(self, customer_uid: str, *, cancelled: bool) -> int:
        """Count the welcome packages of one customer, with or without cancelled ones.

        Raises CallFailed.
        """
        page = await read_page(
            self._link,
            "/package-requests",
            _REQUESTS,
            None,
            package_type=PACKAGE_TYPE,
            customer_id=customer_uid,
        )
        found = {
            one.request_id
            for one in page.items
            if one.customer_id == customer_uid and (cancelled or one.status != "cancelled")
        }
        return len(found)


def _result(wanted: Wanted, given: Any) -> Result:
    """Believe a success only when it names the customer and the package that were asked for."""
    status = given.get("status") if isinstance(given, dict) else None
    if type(status) is not int or not 100 <= status <= 599:  # noqa: PLR2004 (HTTP's range)
        return Misconfigured("the result has no status")
    if status not in _CREATED_OR_THERE:
        return of_item(status, given.get("problem"), wanted.customer_uid)
    made = given.get("package_request")
    if (
        isinstance(made, dict)
        and made.get("customer_id") == wanted.customer_uid
        and made.get("package_type") == PACKAGE_TYPE
        and isinstance(request_id := made.get("request_id"), str)
        and _REQUEST_ID.fullmatch(request_id)
    ):
        return Made(status, request_id)
    return Misconfigured("the result is of another package", status=status)
