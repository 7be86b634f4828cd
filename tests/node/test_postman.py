"""newman runs the Postman collection against the three services, from new databases."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.system.stack import BUG, Stack
from tools.postman import COLLECTION

pytestmark = pytest.mark.engine("sqlite")

NEWMAN = "node_modules/newman/bin/newman.js"


def requests_in(item: dict[str, Any]) -> int:
    return 1 if "request" in item else sum(requests_in(one) for one in item["item"])


@pytest.mark.timeout(300)
def test_every_request_is_answered_as_the_collection_says(
    stack: Stack, node: Callable[[str], list[str]], tmp_path: Path
) -> None:
    stack.crm.environment["SEED_DEMO_DATA"] = "true"
    stack.start()
    stack.wait_until_quiet()
    report = tmp_path / "report.json"
    addresses = [
        f"--env-var={name}_url={server.url}"
        for name, server in zip(("crm", "inventory", "integration"), stack.servers, strict=True)
    ]

    run = subprocess.run(
        [
            *(*node(NEWMAN), "run", str(COLLECTION), *addresses, "--timeout-request=30000"),
            *("--reporters=cli,json", f"--reporter-json-export={report}", "--color=off"),
        ],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
    )

    assert run.returncode == 0, run.stdout[-20_000:]
    stats = json.loads(report.read_text())["run"]["stats"]
    assert stats["requests"]["total"] == requests_in(json.loads(COLLECTION.read_text()))
    assert stats["assertions"]["total"] >= stats["requests"]["total"]
    for server in stack.servers:
        assert not BUG.search(server.logged()), server.tail()
