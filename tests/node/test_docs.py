"""/docs and /redoc in a real browser: authorise, send a request, see its answer."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.node.conftest import answer_of
from tests.system.stack import Stack

pytestmark = pytest.mark.engine("sqlite")


@pytest.mark.timeout(300)
def test_somebody_authorises_and_sends_a_request_from_the_page(
    stack: Stack, node: Callable[[str], list[str]], browser: str, tmp_path: Path
) -> None:
    stack.crm.restart(SEED_DEMO_DATA="true")
    pictures = Path(os.environ.get("PICTURES") or tmp_path)

    command = [*node("docs.mjs"), browser, stack.crm.url, str(pictures)]
    seen = answer_of(command, 280)

    assert seen["elsewhere"] == [], "it asks another host"
    assert seen["status"].startswith("200")
    assert json.loads(seen["body"])["email"] == "jane@example.com", seen["body"]
    assert "customer-not-found" in seen["documented"]
    assert seen["redoc"].startswith("crm_api")
    assert seen["complaints"] == []
