"""A CRM and an OpenID provider behind certificates of a company's own authority."""

import json
import shutil
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest

from deploy.make_secrets import new_certificate
from inventory_api.app import create_app
from inventory_api.settings import Settings
from service_kit.web import minting
from tests.conftest import NewDatabase, bearer, running
from tests.oidc import SETTINGS, rsa_key

pytestmark = [
    pytest.mark.engine("sqlite"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on this machine"),
]
INTROSPECTION = "/api/tokens/introspect"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    for name, content in new_certificate("DNS:localhost").items():
        (folder / name).write_text(content)
    return folder


@pytest.fixture(scope="module")
def address(made: Path) -> Iterator[str]:
    """Give the https:// address of what vouches for everybody, as a CRM and as a provider."""
    answers: dict[str, Any] = {
        INTROSPECTION: {"active": True, "role": "viewer", "username": "x", "sub": "1"},
        "/jwks": {"keys": [rsa_key("one").public_jwk()]},
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps(answers[self.path]).encode()
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(made / "tls_certificate", made / "tls_key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        url = f"https://localhost:{server.server_port}"
        answers["/.well-known/openid-configuration"] = {"issuer": url, "jwks_uri": f"{url}/jwks"}
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield url
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("trusted", "status"), [(True, 200), (False, 503)])
async def test_the_crm_is_asked_about_a_token_where_its_authority_is_trusted(
    new_database: NewDatabase, made: Path, address: str, trusted: bool, status: int
) -> None:
    settings = Settings(
        database_url=new_database("inventory_api"),
        token_introspection_url=address + INTROSPECTION,
        ca_file=made / "tls_ca" if trusted else None,
    )
    async with running(create_app(settings)) as client:
        answer = await client.get("/me", headers=bearer(minting.mint()))

    assert answer.status_code == status


@pytest.mark.parametrize(("trusted", "status"), [(True, 401), (False, 503)])
async def test_a_provider_is_asked_for_its_keys_where_its_authority_is_trusted(
    new_database: NewDatabase, made: Path, address: str, trusted: bool, status: int
) -> None:
    """With the keys it is known that a token of an unknown one is nobody's."""
    settings = Settings(
        database_url=new_database("inventory_api"),
        oidc_issuer=address,
        ca_file=made / "tls_ca" if trusted else None,
        **SETTINGS,
    )
    headers = {"kid": "another", "typ": "at+jwt"}
    forged = jwt.encode({}, rsa_key("two").private, algorithm="RS256", headers=headers)
    async with running(create_app(settings)) as client:
        answer = await client.get("/me", headers=bearer(forged))

    assert answer.status_code == status
