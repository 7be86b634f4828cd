"""docs/routes.md in containers: a verified webhook from the CRM's and the integration's images."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.images.engine import NAMESPACE, attempt, run, until

PAGE = (ROOT / "docs" / "routes.md").read_text()
STEPS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
NAMES = ("crm", "shop", "integration")
NETWORK = "crmsys-test-routes"


def of_the_test(step: str) -> str:
    """Take images, names and a network of the tests' own, so that nobody's containers are lost."""
    step = step.replace("cordn29/", f"{NAMESPACE}/")
    step = re.sub(
        r"--name (\w+) --network crmsys\b",
        rf"--name {NETWORK}-\1 --network-alias \1 --network {NETWORK}",
        step,
    )
    step = step.replace("network create crmsys", f"network create {NETWORK}")
    return step.replace("docker logs -f shop\n", "")


@pytest.fixture
def walked(images: Path, tmp_path: Path) -> Iterator[None]:
    [in_containers] = [step for step in STEPS if "docker run -d " in step]
    script = STEPS[0] + of_the_test(in_containers)
    try:
        run("bash", "-euc", script, cwd=tmp_path)
        yield
    finally:
        attempt("docker", "rm", "--force", *(f"{NETWORK}-{name}" for name in NAMES))
        attempt("docker", "network", "rm", NETWORK)


@pytest.mark.usefixtures("walked")
def test_the_receiver_prints_what_it_has_verified() -> None:
    [printed] = re.findall(r"Within a second the receiver prints\n\n```text\n(.*?)\n```", PAGE)

    try:
        # A receiver that comes late on a busy machine is tried again after a while.
        until(lambda: printed in run("docker", "logs", f"{NETWORK}-shop"), 200)
    except AssertionError as error:
        for name in NAMES:
            logs = attempt("docker", "logs", f"{NETWORK}-{name}")
            error.add_note(f"{name}:\n{logs.stdout}{logs.stderr}")
        raise
