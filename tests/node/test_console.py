"""The console in a real browser: what its people do there, at two widths, and without a script."""

import json
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.conftest import bearer
from tests.node.conftest import answer_of
from tests.system.processes import until
from tests.system.stack import Stack

pytestmark = pytest.mark.engine("sqlite")

PAGES = (
    "",
    "/customers",
    "/customers/new",
    "/customers/3",
    "/customers/3/edit",
    "/customers/3/erase",
    "/deliveries",
    "/deliveries/retry?state=dead&error_class=refused",
    "/tickets",
    "/tickets/1",
    "/tickets/1?done=sent-pending",
    "/tickets/new?customer_id=1",
    "/packing",
    "/packing?tab=packed",
    "/packing?all=yes",
    "/stock",
    "/stock/new",
    "/stock/items/MUG-BLUE",
    "/stock/verify",
    "/imports",
    "/tokens",
    "/audit",
    "/feed",
    "/feed/1",
    "/search?q=example",
    "/nothing",
)

ADDRESS = {
    "lines": ["12 Harbour Road"],
    "postal_code": "T12 X8N6",
    "city": "Cork",
    "country": "IE",
}


@pytest.mark.timeout(300)
def test_people_do_their_work_in_a_browser(
    stack: Stack, node: Callable[[str], list[str]], browser: str, tmp_path: Path
) -> None:
    uid = begin(stack)
    pictures = Path(os.environ.get("PICTURES") or tmp_path)
    if of_readme := os.environ.get("README_PICTURES"):
        Path(of_readme).mkdir(exist_ok=True)
    pages = [*PAGES, f"/deliveries/{uid}"]

    command = [*node("console.mjs"), browser, stack.crm.url, str(pictures), json.dumps(pages)]
    seen = answer_of(command, 280)

    assert seen["complaints"] == []
    assert seen["elsewhere"] == [], "it asks another host"
    assert seen["wide"] == [], "a page is wider than its window"
    assert seen["barriers"] == []
    assert seen["pages"] == {page: 404 if page == "/nothing" else 200 for page in pages}

    assert "It is next door." in seen["answered"]
    assert "Nora Night has no package." in seen["before"]
    assert seen["isSamePage"], "it shows the news without being loaded again"
    assert "Nora Night has no package." in seen["duringOutage"]
    assert "Nora Night has no package." not in seen["after"]
    for key, zone in (("local", timedelta(hours=5, minutes=45)), ("plain", timedelta())):
        at, shown = seen[key]
        there = datetime.fromisoformat(at) + zone
        assert shown.replace("Sept", "Sep") == f"{there.day} {there:%b, %H:%M:%S}"
    for width in ("390", "1280"):
        assert "1 packed" in seen["packed"][width]
        assert "on hand" in seen["received"][width]
    assert seen["checked"].startswith("Check #")
    assert seen["registered"] == "Ada <b>Example</b>"
    assert seen["signedOut"] == "/console/sign-in"
    assert seen["stillSignedIn"] == "/console"
    assert stack.bugs() == []


def begin(stack: Stack) -> str:
    """Start with a customer whose package Inventory has under another name. Returns the uid."""
    known = {
        "INVENTORY_API_URL": stack.inventory.url,
        "INTEGRATION_API_URL": stack.integration.url,
    }
    stack.crm.restart(SEED_DEMO_DATA="true", **known)
    stack.inventory.restart()
    admin = httpx.Client(headers=bearer("admin123"), timeout=10, trust_env=False)
    with admin:
        nora, *others = (
            admin.post(
                f"{stack.crm.url}/api/customers",
                json={
                    "name": name,
                    "email": f"{name.split()[0].lower()}@example.com",
                    "address": ADDRESS,
                },
            ).json()
            for name in ("Nora Night", "Adam Example", "Li Wei", "Maria Rossi")
        )
        uid = str(nora["uid"])
        package = {"customer_id": uid, "customer_name": "N. Night"}
        admin.post(f"{stack.inventory.url}/package-requests", json=package).raise_for_status()
        stack.integration.restart()
        address = f"{stack.integration.url}/deliveries/{uid}"
        until(lambda: is_dead(admin.get(address)), "the delivery is dead")
        last = f"{stack.integration.url}/deliveries/{others[-1]['uid']}/wait"
        admin.get(last, params={"timeout": 8}).raise_for_status()
    return uid


def is_dead(answer: httpx.Response) -> bool:
    return answer.status_code == 200 and answer.json()["state"] == "dead"
