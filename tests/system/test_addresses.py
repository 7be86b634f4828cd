"""An address on its way through real processes: from the CRM onto the label, and no further."""

from typing import Any

import pytest

from service_kit.web.postal import EXAMPLE
from tests.conftest import bearer
from tests.sweeps import ENGINES, sample
from tests.system.processes import until
from tests.system.stack import Stack

ADMIN = bearer("admin123")
LONDON: dict[str, Any] = dict(EXAMPLE)
PARIS = {**LONDON, "lines": ["1 Rue"], "city": "Paris", "country": "FR"}


def package_of(stack: Stack, uid: str) -> dict[str, Any] | None:
    url = f"{stack.inventory.url}/package-requests"
    found = stack.client.get(url, headers=ADMIN, params={"customer_id": uid}).json()
    return found[0] if found else None


def address_of(stack: Stack, uid: str) -> Any:
    package = package_of(stack, uid)
    return package and package["ship_to"]


@pytest.mark.sweep
@pytest.mark.engine(*sample(ENGINES, every=2))
def test_a_package_follows_its_customer_until_it_is_packed(stack: Stack) -> None:
    stack.start()
    customers = f"{stack.crm.url}/api/customers"
    sent = {"name": "Ada", "email": "ada@example.com", "address": LONDON}
    uid = str(stack.client.post(customers, headers=ADMIN, json=sent).json()["uid"])
    until(lambda: address_of(stack, uid) == LONDON, "the package has its address")

    stack.client.patch(f"{customers}/{uid}", headers=ADMIN, json={"address": PARIS})
    until(lambda: address_of(stack, uid) == PARIS, "the package has the new address")
    package = package_of(stack, uid)
    assert package is not None
    pack = f"{stack.inventory.url}/package-requests/{package['request_id']}/pack"
    assert stack.client.post(pack, headers=ADMIN).status_code == 200
    stack.client.patch(f"{customers}/{uid}", headers=ADMIN, json={"address": LONDON})

    told = "SELECT count(*) FROM destinations"
    passed = "SELECT 1 FROM poller WHERE position >= 3"
    until(lambda: stack.integration.rows(passed), "the feed has told of the last change")
    until(lambda: stack.integration.rows(told) == [(0,)], "Inventory has been told of it")
    assert address_of(stack, uid) == PARIS
