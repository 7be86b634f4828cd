"""`make run` before it starts anything: what it reads, what it refuses, and in which words."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import pytest

from integration_service.settings import Settings
from tests.conftest import ROOT, SERVICES
from tools import env_file
from tools.run_local import environment_for

pytestmark = pytest.mark.slow

SECRET = "s3cret-and-long-enough"
INTROSPECTION = "TOKEN_INTROSPECTION_TOKEN"
PORTS = {"crm_api": 8000, "inventory_api": 8001, "integration_service": 8002}

Refusal = Callable[..., str]


@pytest.fixture
def refusal(tmp_path: Path) -> Refusal:
    """Run it in a folder with such an `.env`, and return the reason that it prints."""

    def refusal(content: str = "", **variables: str) -> str:
        (tmp_path / ".env").write_text(content)
        ended = subprocess.run(
            [sys.executable, "-m", "tools.run_local"],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ended.returncode, ended.stdout) == (2, "")
        assert SECRET not in ended.stderr
        assert [path.name for path in tmp_path.iterdir()] == [".env"]
        return ended.stderr

    return refusal


def test_one_database_for_all_three_services_is_refused(refusal: Refusal) -> None:
    told = refusal(DATABASE_URL="postgresql://localhost/all")

    for name in ("CRM_DATABASE_URL", "INVENTORY_DATABASE_URL", "INTEGRATION_DATABASE_URL"):
        assert name in told


@pytest.mark.parametrize("service", SERVICES)
def test_a_port_that_is_taken_is_told_before_anything_starts(
    refusal: Refusal, service: str
) -> None:
    with ExitStack() as held:
        # Nobody listens on the other two, and nobody else gets them meanwhile.
        sockets = {name: held.enter_context(socket.socket()) for name in SERVICES}
        for one in sockets.values():
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", 0))
        sockets[service].listen()
        ports = {name: str(one.getsockname()[1]) for name, one in sockets.items()}
        variables = ("CRM_PORT", "INVENTORY_PORT", "INTEGRATION_PORT")
        told = refusal(**dict(zip(variables, ports.values(), strict=True)))

    assert told.startswith(f"Port {ports[service]}, for {service}, can't be used: Address already")
    assert told.endswith("make run CRM_PORT=... INVENTORY_PORT=... INTEGRATION_PORT=...\n")


def test_one_port_for_two_services_is_refused(refusal: Refusal) -> None:
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        told = refusal(f"CRM_PORT={port}\nINVENTORY_PORT={port}\n")

    assert told.startswith(f"Port {port}, for inventory_api, can't be used")


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1"])
def test_a_port_that_is_none_is_refused(refusal: Refusal, port: str) -> None:
    assert refusal(f"INVENTORY_PORT={port}") == "INVENTORY_PORT must be a port from 1 to 65535.\n"


def test_a_line_that_is_no_variable_is_refused_before_anything_starts(refusal: Refusal) -> None:
    told = refusal(f"LOG_LEVEL=INFO\n\nAPI_TOKENS=admin:my {SECRET}\n")

    assert told.startswith(".env, line 3: the value of API_TOKENS has a space.")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f"API_TOKENS=admin:{SECRET} x", "the value of API_TOKENS has a space"),
        (f"API_TOKENS=admin:{SECRET}\tx", "the value of API_TOKENS has a space"),
        (f"API_TOKENS= {SECRET}", "the value of API_TOKENS has a space"),
        (f"API_TOKENS = {SECRET}", "it must be NAME=value"),
        (f"API_TOKENS: {SECRET}", "it must be NAME=value"),
        (SECRET, "it must be NAME=value"),
        (f"{SECRET}=x", "it must be NAME=value"),
        (f'API_TOKENS="admin:{SECRET}', "the quotes around the value of API_TOKENS"),
        (f"API_TOKENS='admin:{SECRET}\"", "the quotes around the value of API_TOKENS"),
        (f'API_TOKENS="admin"{SECRET}"', "the quotes around the value of API_TOKENS"),
        ('API_TOKENS="', "the quotes around the value of API_TOKENS"),
        (f"A=1\nA={SECRET}", "A is set for the second time"),
    ],
)
def test_a_line_that_is_wrong_is_named_and_not_shown(tmp_path: Path, line: str, says: str) -> None:
    file = tmp_path / ".env"
    file.write_text(f"# one\nGOOD=1\n{line}\n")

    with pytest.raises(env_file.Malformed) as caught:
        env_file.read(file)

    number = 3 + line.count("\n")
    assert str(caught.value).startswith(f"{file}, line {number}: {says}")
    assert SECRET not in repr(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"A=\xff\n")

    with pytest.raises(env_file.Malformed, match="is not UTF-8 text"):
        env_file.read(file)


def test_values_are_taken_as_they_stand(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "\ufeffFIRST=1\r\n"
        "# a comment\n"
        "  # another\n"
        "\n"
        "export TOKEN=$HOME`id`$(id)#x=y\n"
        'QUOTED="two words # and no comment"\n'
        "SINGLE='$HOME'\n"
        "EMPTY=\n",
        encoding="utf-8",
        newline="",
    )

    assert env_file.read(file) == {
        "FIRST": "1",
        "TOKEN": "$HOME`id`$(id)#x=y",
        "QUOTED": "two words # and no comment",
        "SINGLE": "$HOME",
        "EMPTY": "",
    }
    assert env_file.read(tmp_path / "none") == {}


def test_one_file_holds_the_tokens_of_all_three_services(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "CRM_API_TOKENS": "agent:the-crms-own,integration:for-the-crm",
        "INVENTORY_API_TOKENS": "clerk:inventorys-own,integration:for-inventory",
        "INTEGRATION_API_TOKENS": "admin:the-integrations-own",
        "CRM_API_TOKEN": "for-the-crm",
        "INVENTORY_API_TOKEN": "for-inventory",
        "INVENTORY_ADMIN_TOKEN": "inventorys-admin",
        "CRM_DATABASE_URL": "sqlite:///other/crm.db",
    }

    found = {}
    for service in SERVICES:
        with monkeypatch.context() as patch:
            for name, value in environment_for(service, given, PORTS).items():
                patch.setenv(name, value)
            settings = import_module(f"{service}.settings").Settings.from_environment()
        found[service] = settings

    assert found["crm_api"].tokens() == [
        ("agent", "the-crms-own"),
        ("integration", "for-the-crm"),
    ]
    assert found["inventory_api"].tokens() == [
        ("clerk", "inventorys-own"),
        ("integration", "for-inventory"),
        ("admin", "inventorys-admin"),
    ]
    assert found["integration_service"].tokens() == [("admin", "the-integrations-own")]
    assert found["integration_service"].crm_token == "for-the-crm"
    assert found["integration_service"].inventory_token == "for-inventory"
    assert found["crm_api"].database_url == "sqlite:///other/crm.db"
    assert found["inventory_api"].database_url == "sqlite:///data/inventory.db"
    assert [one.port for one in found.values()] == [8000, 8001, 8002]
    assert {one.host for one in found.values()} == {"127.0.0.1"}
    local = ("localhost", "127.0.0.1", "[::1]")
    assert {one.allowed_hosts for one in found.values()} == {local}


def test_a_host_that_is_named_is_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    given = environment_for("integration_service", {"ALLOWED_HOSTS": "crm.example.com"}, PORTS)
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    hosts = Settings.from_environment().allowed_hosts
    assert hosts == ("localhost", "127.0.0.1", "[::1]", "crm.example.com")


@pytest.mark.parametrize(
    ("environment", "scopes"), [({}, {"sync:read"}), ({"ENVIRONMENT": "production"}, set())]
)
def test_who_has_no_token_may_do_nothing_in_production(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], scopes: set[str]
) -> None:
    names = ("INTEGRATION_ADMIN_TOKEN", "CRM_API_TOKEN", "INVENTORY_API_TOKEN", INTROSPECTION)
    tokens = dict.fromkeys(names, "long-enough-to-be-no-guess-of-anybody")
    given = environment_for("integration_service", environment | tokens, PORTS)
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    assert Settings.from_environment().anonymous_scopes == scopes
