"""What outgoing https:// calls trust. The server's certificate and name are always verified."""

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

SSL_CERT_FILE = "SSL_CERT_FILE"


def ssl_context_for(url: str, ca_file: Path | None = None) -> ssl.SSLContext:
    """Make what a client of one address needs: for http:// one that trusts nobody, at no cost."""
    if url.startswith("https:"):
        return ssl_context(ca_file)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def ssl_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Trust the public authorities, and those in `ca_file`.

    As in any program with OpenSSL, SSL_CERT_FILE and SSL_CERT_DIR take the place of the public
    ones. A context takes 20 ms and megabytes.
    """
    file, folder = os.environ.get(SSL_CERT_FILE), os.environ.get("SSL_CERT_DIR")
    if not (file or folder):
        import certifi

        file = certifi.where()
    context = ssl.create_default_context(cafile=file or None, capath=folder or None)
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def client_for(
    url: str, ca_file: Path | None, seconds: float, **headers: str
) -> "httpx.AsyncClient":
    """Make a client of one address that follows no redirect and heeds no proxy of the environment.

    `seconds` is the time that each step of a request may take.
    """
    import httpx

    return httpx.AsyncClient(
        headers={"Accept": "application/json", **headers},
        verify=ssl_context_for(url, ca_file),
        timeout=seconds,
        follow_redirects=False,
        trust_env=False,
    )


def refuse_without_certificate(path: Path) -> Path:
    """Return the path of a file of certificates. Raises ValueError for one that is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        found = 0  # another kind of file, or a certificate that is damaged
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from None
    else:
        found = context.cert_store_stats()["x509"]
    if not found:
        raise ValueError(f"{path} holds no certificate in PEM form")
    return path


def refuse_unusable_ssl_cert_file() -> None:
    """Raise ValueError where SSL_CERT_FILE names no file of certificates; for who calls https://."""
    if file := os.environ.get(SSL_CERT_FILE):
        try:
            refuse_without_certificate(Path(file))
        except ValueError as error:
            raise ValueError(f"{SSL_CERT_FILE}: {error}") from None
