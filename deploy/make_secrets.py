"""Makes a deployment's secrets, a file each: random tokens and passwords that fit together.

    python3 deploy/make_secrets.py [FOLDER] [--domain DOMAIN]

FOLDER is ./secrets by default. A file that is there is kept, so that it can be run again, and the
URL of a database of your own can be written into the file of that name.

With them comes a certificate for crm.DOMAIN, inventory.DOMAIN and integration.DOMAIN, by an
authority made for it alone, whose certificate is the file tls_ca. DOMAIN is localhost by default:
names that lead to this machine, for a trial. tls_certificate and tls_key are where your own go.
"""

import argparse
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

DATABASES = ("crm", "inventory", "integration")
# Browsers take no certificate that is good for longer.
CERTIFICATE_DAYS = 397
NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
AUTHORITY = """
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
"""
SERVER = """
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Makes a deployment's secrets, a file each.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("secrets"))
    parser.add_argument("--domain", default="localhost", help="what the services' names end with")
    options = parser.parse_args(arguments)
    folder: Path = options.folder
    # The folder is closed to others on this machine; the files are open, since a container's
    # account, which is not the owner, reads them through its mount.
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, content in contents(folder).items():
        write(folder / name, content)
    if (folder / "tls_certificate").exists():
        print(f"{folder / 'tls_certificate'} is there and stays")
    else:
        names = [f"DNS:{service}.{options.domain}" for service in DATABASES]
        for name, content in new_certificate(*names).items():
            write(folder / name, content)
    for name in DATABASES:
        if (url := folder / f"{name}_database_url.postgres").read_text() in old_urls(folder):
            print(f"{url} has the server's own password: docs/docker.md tells how to change it")
    return 0


def write(path: Path, content: str) -> None:
    if path.exists():
        print(f"{path} is there and stays")
        return
    path.touch(mode=0o600)  # before anything is in it
    path.write_text(content)
    path.chmod(0o444)
    print(f"{path} made")


def contents(folder: Path) -> dict[str, str]:
    """Give each file's content; what several must agree on is read from the file that is there."""
    for_crm = _kept(folder / "crm_api_token") or secrets.token_urlsafe(32)
    for_stock = _kept(folder / "inventory_api_token") or secrets.token_urlsafe(32)
    found = {
        "postgres_password": secrets.token_hex(24),
        "crm_api_token": for_crm,
        "inventory_api_token": for_stock,
        "crm_api_tokens": f"{_tokens('admin', 'agent', 'viewer')},integration:{for_crm}",
        "inventory_api_tokens": f"{_tokens('admin', 'clerk', 'viewer')},integration:{for_stock}",
        "integration_api_tokens": _tokens("admin", "viewer"),
        "oidc_client_secret": "",  # for the one that the OpenID provider gives
    }
    for name in DATABASES:
        password = _kept(folder / f"{name}_postgres_password") or secrets.token_hex(24)
        found[f"{name}_postgres_password"] = password
        found[f"{name}_database_url.sqlite"] = f"sqlite:////data/{name}.db"
        found[f"{name}_database_url.postgres"] = f"postgresql://{name}:{password}@postgres/{name}"
    return found


def old_urls(folder: Path) -> set[str]:
    """Give the URLs of the time when the three services shared the server's own password."""
    password = _kept(folder / "postgres_password")
    return {f"postgresql://{name}:{password}@postgres/{name}" for name in DATABASES}


def new_certificate(*names: str) -> dict[str, str]:
    """Make a key with its certificate, and the authority's certificate, by file name.

    The names are as in `DNS:crm.localhost`. The authority's key is thrown away, so that it vouches
    for nothing else.
    """
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        (folder / "authority.cnf").write_text(f"[req]\ndistinguished_name=d\n[d]\n[x]{AUTHORITY}")
        (folder / "server.cnf").write_text(SERVER.format(names=",".join(names)))
        days = ["-days", str(CERTIFICATE_DAYS)]
        number = ["-set_serial", f"0x{secrets.randbits(126):x}"]
        who = ["-subj", "/CN=crmsys, made for this deployment"]
        made = ["-config", "authority.cnf", "-extensions", "x", "-keyout", "ca.key", "-out", "ca"]
        _openssl(folder, "req", "-x509", *NEW_KEY, *days, *number, *who, *made)
        asked = ["-config", "authority.cnf", "-keyout", "key", "-out", "request"]
        _openssl(folder, "req", "-new", *NEW_KEY, "-subj", "/CN=crmsys", *asked)
        by = ["-CA", "ca", "-CAkey", "ca.key", "-set_serial", f"0x{secrets.randbits(126):x}"]
        signed = ["-in", "request", "-extfile", "server.cnf", "-out", "certificate"]
        _openssl(folder, "x509", "-req", *days, *by, *signed)
        return {f"tls_{name}": (folder / name).read_text() for name in ("ca", "certificate", "key")}


def _openssl(folder: Path, *arguments: str) -> None:
    command = ["openssl", *arguments]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        sys.exit("There is no openssl here: put your own tls_certificate and tls_key there.")
    except subprocess.CalledProcessError as error:
        sys.exit(f"openssl {arguments[0]} failed: {error.stderr.strip()}")


def _kept(path: Path) -> str | None:
    return path.read_text().strip() if path.exists() else None


def _tokens(*roles: str) -> str:
    return ",".join(f"{role}:{secrets.token_urlsafe(32)}" for role in roles)


if __name__ == "__main__":
    sys.exit(main())
