"""/docs and /redoc in a real browser: authorise, send a request, see its answer."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.stack import Stack

pytestmark = pytest.mark.engine("sqlite")

BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


@pytest.fixture
def browser() -> str:
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"there is none of {', '.join(BROWSERS)}; CHROMIUM may name one")
    return found


@pytest.mark.timeout(300)
def test_somebody_authorises_and_sends_a_request_from_the_page(
    stack: Stack, node: Callable[[str], list[str]], browser: str, tmp_path: Path
) -> None:
    stack.crm.restart(SEED_DEMO_DATA="true")
    pictures = Path(os.environ.get("PICTURES") or tmp_path)

    run = subprocess.run(
        [*node("docs.mjs"), browser, stack.crm.url, str(pictures)],
        check=False,
        capture_output=True,
        text=True,
        timeout=280,
    )

    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen["elsewhere"] == [], "it asks another host"
    assert seen["status"].startswith("200")
    assert json.loads(seen["body"])["email"] == "jane@example.com", seen["body"]
    assert "customer-not-found" in seen["documented"]
    assert seen["redoc"].startswith("crm_api")
    assert seen["complaints"] == []
