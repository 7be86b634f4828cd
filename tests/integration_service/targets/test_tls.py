"""An Inventory behind https://: who vouches for it, and that its name is looked at."""

import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.make_secrets import new_certificate
from tests.integration_service.conftest import Log, Start
from tests.integration_service.targets.test_wire import (
    Server,
    assert_it_is_a_matter_of_configuration,
    owe,
)

UNKNOWN_AUTHORITY = "its certificate is not trusted: unable to get local issuer certificate"

pytestmark = [
    pytest.mark.engine("sqlite"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on this machine"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the certificate of a server, and of the authority that vouches for it."""
    folder = tmp_path_factory.mktemp("made")
    for name, content in new_certificate("DNS:localhost").items():
        (folder / name).write_text(content)
    return folder


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("other") / "tls_ca"
    path.write_text(new_certificate("DNS:localhost")["tls_ca"])
    return path


@pytest.fixture(autouse=True)
def _no_other_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def server(made: Path) -> AsyncIterator[tuple[Server, str]]:
    """An Inventory behind TLS, and its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made / "tls_certificate", made / "tls_key")
    found = Server()
    async with found.running(context) as address:
        yield found, address.rpartition(":")[2]


@pytest.mark.parametrize("variable", ["CA_FILE", "SSL_CERT_FILE"])
async def test_a_server_of_a_trusted_authority_is_called(
    start: Start,
    server: tuple[Server, str],
    made: Path,
    variable: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inventory, port = server
    ca_file = made / "tls_ca" if variable == "CA_FILE" else None
    if ca_file is None:
        monkeypatch.setenv("SSL_CERT_FILE", str(made / "tls_ca"))
    integration = await start(inventory_api_url=f"https://localhost:{port}", ca_file=ca_file)
    await owe(integration, "ada")
    await integration.send()

    assert await integration.states() == {"ada": "delivered"}
    assert inventory.inventory.owners == ["ada"]


async def test_both_are_trusted_where_both_are_set(
    start: Start,
    server: tuple[Server, str],
    made: Path,
    other_authority: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(made / "tls_ca"))
    integration = await start(
        inventory_api_url=f"https://localhost:{server[1]}", ca_file=other_authority
    )
    await owe(integration, "ada")
    await integration.send()

    assert await integration.states() == {"ada": "delivered"}


@pytest.mark.parametrize("named", [True, False], ids=["another", "the public ones"])
async def test_a_server_of_another_authority_is_not_spoken_to(
    start: Start, server: tuple[Server, str], other_authority: Path, named: bool, log: Log
) -> None:
    inventory, port = server
    integration = await start(
        inventory_api_url=f"https://localhost:{port}", ca_file=other_authority if named else None
    )

    await assert_it_is_a_matter_of_configuration(integration, log, UNKNOWN_AUTHORITY)
    [line] = log.errors
    assert line == (
        f"Inventory can't be used: {UNKNOWN_AUTHORITY}. Check INVENTORY_API_URL. CA_FILE names "
        "authorities to trust besides the public ones. Nothing is lost; it goes on trying."
    )
    assert inventory.inventory.owners == []


async def test_a_server_under_another_name_is_not_spoken_to(
    start: Start, server: tuple[Server, str], made: Path, log: Log
) -> None:
    inventory, port = server
    integration = await start(
        inventory_api_url=f"https://127.0.0.1:{port}", ca_file=made / "tls_ca"
    )

    await assert_it_is_a_matter_of_configuration(
        integration, log, "IP address mismatch, certificate is not valid for '127.0.0.1'."
    )
    assert inventory.inventory.owners == []
