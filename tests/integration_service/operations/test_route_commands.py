"""The command `routes`: what it prints of a file, and the exit codes that scripts go by."""

from collections.abc import Callable
from pathlib import Path

import pytest

from integration_service.commands import main
from integration_service.routes.file import default_text
from tests.integration_service.routes.writing import WEBHOOK
from tests.system.processes import Nursery, bare_environment

Check = Callable[[str], tuple[int, list[str], list[str]]]


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Check a file with this text. Returns the exit code, and the lines of both outputs."""

    def check(text: str) -> tuple[int, list[str], list[str]]:
        (tmp_path / "routes.toml").write_text(text)
        code = main(["routes", "check", str(tmp_path / "routes.toml")])
        printed = capsys.readouterr()
        told = printed.err.replace(f"{tmp_path}/", "")
        return code, printed.out.splitlines(), told.splitlines()

    return check


def test_the_built_in_file_is_printed_and_has_no_mistakes(
    check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["routes", "default"]) == 0
    printed = capsys.readouterr().out

    assert printed == default_text()
    assert check(printed) == (
        0,
        ["welcome-package  customer.created  inventory: welcome_package  beginning"],
        [],
    )


def test_a_webhook_is_shown_by_its_host(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_SHOP_SECRET", "x")
    text = WEBHOOK.replace("/hooks/crm", "/hooks?key=s3cr3t")

    assert check(f'{text}order = "subject"\nstart_from = 17\n') == (
        0,
        ["web-shop  customer.*,ticket.status_changed  webhook: shop.example.com, in order  17"],
        [],
    )


def test_every_mistake_is_a_line(check: Check) -> None:
    code, shown, told = check(WEBHOOK.replace("name", "nmae") + "colour = 1\n")

    assert (code, shown) == (1, [])
    assert [line[:35] for line in told] == [
        "integration_service: routes.toml:1:",
        "integration_service: routes.toml:2:",
        "integration_service: routes.toml:7:",
    ]


def test_what_depends_on_the_machine_is_a_warning(check: Check) -> None:
    code, shown, told = check(WEBHOOK.replace("https:", "http:"))

    assert (code, len(shown)) == (0, 1)
    begin = "integration_service: warning: routes.toml"
    insecure = f"{begin}:5: route web-shop: url: http:// to a public host: "
    missing = f"{begin}:6: route web-shop: secret: WEB_SHOP_SECRET is not set; set this variable, "
    assert told == [
        f"{insecure}anybody on the way can read the events; use https://",
        f"{missing}or write /run/secrets/WEB_SHOP_SECRET",
    ]


def test_a_file_is_checked_whatever_else_is_set(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "none")

    assert check(default_text())[0] == 0


def test_the_service_does_not_start_with_a_wrong_file(nursery: Nursery, tmp_path: Path) -> None:
    path = tmp_path / "routes.toml"
    path.write_text(WEBHOOK.replace("webhook", "webhok"))
    environment = {**bare_environment(), "ROUTES_FILE": str(path)}
    output, errors = tmp_path / "stdout", tmp_path / "stderr"

    served = nursery.start(["integration_service", "serve"], environment, tmp_path, output, errors)

    assert served.wait(30) == 2
    heading, told = errors.read_text().splitlines()
    assert heading == "integration_service: ROUTES_FILE can't be used:"
    assert told.startswith(f"integration_service: {path}:4: route web-shop: target: must be one of")
    assert not list(tmp_path.glob("**/*.db"))
