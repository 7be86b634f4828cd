"""Makes a deployment's secrets, a file each: random tokens that fit together, database URLs.

    python deploy/make_secrets.py [FOLDER]

FOLDER is ./secrets by default. A file that is there is kept, so that it can be run again, and the
URL of a database of your own can be written into the file of that name.
"""

import secrets
import sys
from pathlib import Path

DATABASES = ("crm", "inventory", "integration")


def main(folder: Path) -> int:
    # The folder is closed to others on this machine; the files are open, since a container's
    # account, which is not the owner, reads them through its mount.
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, content in contents(folder).items():
        path = folder / name
        if path.exists():
            print(f"{path} is there and stays")
            continue
        path.write_text(content)
        path.chmod(0o444)
        print(f"{path} made")
    return 0


def contents(folder: Path) -> dict[str, str]:
    """Give each file's content; what several must agree on is read from the file that is there."""
    password = _kept(folder / "postgres_password") or secrets.token_hex(24)
    for_crm = _kept(folder / "crm_api_token") or secrets.token_urlsafe(32)
    for_stock = _kept(folder / "inventory_api_token") or secrets.token_urlsafe(32)
    found = {
        "postgres_password": password,
        "crm_api_token": for_crm,
        "inventory_api_token": for_stock,
        "crm_api_tokens": f"{_tokens('admin', 'agent', 'viewer')},integration:{for_crm}",
        "inventory_api_tokens": f"{_tokens('admin', 'clerk', 'viewer')},integration:{for_stock}",
        "integration_api_tokens": _tokens("admin", "viewer"),
    }
    for name in DATABASES:
        found[f"{name}_database_url.sqlite"] = f"sqlite:////data/{name}.db"
        found[f"{name}_database_url.postgres"] = f"postgresql://{name}:{password}@postgres/{name}"
    return found


def _kept(path: Path) -> str | None:
    return path.read_text().strip() if path.exists() else None


def _tokens(*roles: str) -> str:
    return ",".join(f"{role}:{secrets.token_urlsafe(32)}" for role in roles)


if __name__ == "__main__":
    sys.exit(main(Path(*sys.argv[1:2]) if sys.argv[1:] else Path("secrets")))
