"""docs/image.md as it is printed: the CRM's image in somebody else's stack."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from service_kit import VERSION
from tests.conftest import ROOT
from tests.images.engine import NAMESPACE, attempt, inspect, run, until

PROJECT = "crmsys-test-page"
PAGE = (ROOT / "docs" / "image.md").read_text()
STEPS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
FILES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
MAKE_FILES, START, READ_FEED, MAKE_CLIENT, MOVE, OTHER_USER = STEPS
CRM = f"{NAMESPACE}/crmsys:{VERSION}"


def of_the_test(text: str) -> str:
    """Take images and a volume of the tests' own, so that nobody's are replaced."""
    text = text.replace("cordn29/", f"{NAMESPACE}/")
    return text.replace("crm-trial", f"{PROJECT}-trial")


@pytest.fixture(scope="module")
def folder(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("page")
    for name, text in zip(("compose.yaml", "postgres.yaml"), FILES, strict=True):
        (folder / name).write_text(of_the_test(text))
    try:
        shell(MAKE_FILES, folder)
        yield folder
    finally:
        files = ["-f", "compose.yaml", "-f", "postgres.yaml"]
        attempt("docker", "compose", "-p", PROJECT, *files, "down", "--volumes", cwd=folder)


@pytest.fixture(scope="module")
def started(folder: Path) -> str:
    return shell(START, folder)


def shell(step: str, folder: Path) -> str:
    path = f"{ROOT / '.venv' / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    step = of_the_test(step)
    return run("bash", "-euc", step, cwd=folder, PATH=path, COMPOSE_PROJECT_NAME=PROJECT)


@pytest.mark.usefixtures("started")
def test_a_service_beside_it_is_told_of_a_customer(folder: Path, started: str) -> None:
    [line] = re.findall(r"the shop has printed `(.*)`", PAGE)

    assert '"status":"ok"' in started
    assert '"environment":"production"' in started
    until(lambda: line in run("docker", "logs", f"{PROJECT}-shop-1"))


@pytest.mark.usefixtures("started")
def test_the_feed_has_it_too(folder: Path) -> None:
    assert shell(READ_FEED, folder).count("Ada Lovelace") == 2


@pytest.mark.usefixtures("started")
def test_a_client_that_is_made_from_openapi_works(folder: Path) -> None:
    [printed] = re.findall(r"It prints `(.*)`", PAGE)

    assert shell(MAKE_CLIENT, folder).splitlines()[-1] == printed


@pytest.mark.usefixtures("started")
def test_it_moves_to_postgresql_with_all_that_it_has(folder: Path) -> None:
    told = shell(MOVE, folder)

    assert "Ada Lovelace" in told.splitlines()[-1]
    logs = attempt("docker", "logs", f"{PROJECT}-crm-1")
    assert "No volume" not in logs.stdout + logs.stderr
    assert inspect(f"{PROJECT}-crm-1")["State"]["Health"]["Status"] == "healthy"


def test_another_user_may_run_it(images: Path, folder: Path) -> None:
    shell(OTHER_USER, folder)


def test_a_container_without_a_volume_says_so(images: Path) -> None:
    container = run("docker", "run", "--detach", CRM).strip()
    try:
        until(lambda: "Listening on" in attempt("docker", "logs", container).stderr)
        told = attempt("docker", "logs", container).stderr
    finally:
        attempt("docker", "rm", "--force", container)

    assert "WARNING: No volume: the database /data/crm.db goes when this container is" in told


def test_who_may_not_write_is_told_the_path_and_the_user(images: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)  # of whoever runs the tests
    volume = f"--volume={tmp_path}:/data"
    done = attempt("docker", "run", "--rm", volume, "--user=4321:4321", CRM)

    assert done.returncode == 2
    assert "'/data/crm.db': user 4321: the file and its folder must be this user's" in done.stderr
