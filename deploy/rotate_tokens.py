"""Rotates the tokens of a deployment in three steps, between which its services start again.

    python3 deploy/rotate_tokens.py add|switch|drop [FOLDER]

add     gives each token in FOLDER (./secrets by default) a successor; a service accepts both
switch  has the services show each other the new ones
drop    takes the old ones away

The old ones stand in FILE.old until they are dropped. A token that is there as a SHA-256 stays: its
text is with whoever uses it.
"""

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

ACCEPTED = ("crm_api_tokens", "inventory_api_tokens", "integration_api_tokens")
# What a service shows to another, and where that one accepts it.
SHOWN = {"crm_api_token": "crm_api_tokens", "inventory_api_token": "inventory_api_tokens"}


class Refused(Exception):
    """The step is not the next one, or a file is missing; the sentence says which."""


def main(arguments: Sequence[str] | None = None) -> int:
    steps = {"add": add, "switch": switch, "drop": drop}
    parser = argparse.ArgumentParser(description="Rotates a deployment's tokens.")
    parser.add_argument("step", choices=steps)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("secrets"))
    options = parser.parse_args(arguments)
    try:
        steps[options.step](options.folder)
    except Refused as reason:
        print(reason, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def add(folder: Path) -> None:
    # Only those that are left, where it was interrupted.
    names = [name for name in ACCEPTED if not _old_of(folder / name).exists()]
    if not names:
        raise Refused("A rotation has begun: end it first, with switch and drop.")
    for name, entries in {name: _entries(folder / name) for name in names}.items():
        old = [(role, token) for role, token in entries if not token.startswith("sha256:")]
        new = [(role, secrets.token_urlsafe(32)) for role, _ in old]
        # In this order: what is dropped has a successor, wherever this is interrupted.
        _write(folder / name, [*entries, *new])
        _write(_old_of(folder / name), old)
    print("Each token has a successor. Start all services again: they accept both.")


def switch(folder: Path) -> None:
    for name, where in SHOWN.items():
        old = _entries(_begun(folder / where))
        shown = (folder / name).read_text().strip()
        roles = {role for role, token in old if token == shown}
        new = [
            token
            for role, token in _entries(folder / where)
            if role in roles and (role, token) not in old
        ]
        if new:
            _replace(folder / name, new[-1])
    print("The services have new ones for each other. Start Inventory and the integration again.")


def drop(folder: Path) -> None:
    old = {name: _entries(_begun(folder / name)) for name in ACCEPTED}
    for name, where in SHOWN.items():
        if (folder / name).read_text().strip() in {token for _, token in old[where]}:
            raise Refused(
                f"{name} is still an old one: switch first, and start the services again."
            )
    for name in ACCEPTED:
        _write(folder / name, [one for one in _entries(folder / name) if one not in old[name]])
    for name in ACCEPTED:
        _old_of(folder / name).unlink()
    print("The old tokens are gone. Start all services again: they refuse them.")


def _begun(path: Path) -> Path:
    """Return where the old tokens of a file are. Raises Refused where it is not being rotated."""
    old = _old_of(path)
    if not old.exists():
        raise Refused(f"There is no {old.name}: begin with add.")
    return old


def _entries(path: Path) -> list[tuple[str, str]]:
    """Read the roles and tokens of a file: `role:token,role:token`."""
    parts = [part.strip().partition(":") for part in path.read_text().split(",") if part.strip()]
    return [(role, token) for role, _, token in parts]


def _old_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.old")


def _write(path: Path, entries: Sequence[tuple[str, str]]) -> None:
    _replace(path, ",".join(f"{role}:{token}" for role, token in entries))


def _replace(path: Path, content: str) -> None:
    """Replace a file in one step. Others may read it, as make_secrets.py has it, not its folder."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_text(content)
    part.chmod(0o444)
    part.replace(path)


if __name__ == "__main__":
    sys.exit(main())
