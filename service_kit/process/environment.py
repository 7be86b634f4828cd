"""Variables of the environment, or files of the same names, as secrets come."""

import os
from collections.abc import Collection
from pathlib import Path

SECRETS_DIR = Path("/run/secrets")
# Names with fewer letters have too many neighbours that are right as they are.
SHORTEST = 5


class Refused(ValueError):
    """The environment asks for something this service can't start with."""


def variables(names: Collection[str], secrets: Path = SECRETS_DIR) -> dict[str, str]:
    """Return what is set of these names, upper case or lower; what is empty counts as not set.

    A variable wins over a file. Raises Refused for secrets that can't be read.
    """
    found = _files(names, secrets) | {name.lower(): value for name, value in os.environ.items()}
    return {name: found[name] for name in names if found.get(name)}


def near_misses(names: Collection[str], given: Collection[str] = os.environ) -> list[str]:
    """Say of each variable that is one slip away from one of these names which was meant."""
    known = {name.upper() for name in names}
    return [
        f"{variable} has no effect. Did you mean {name}?"
        for variable in given
        if variable.upper() not in known
        for name in sorted(known)
        if one_slip_apart(variable.upper(), name)
    ]


def one_slip_apart(one: str, other: str) -> bool:
    """Tell whether a letter is missing, wrong or one too many, or two have changed places."""
    shorter, longer = sorted(map(len, (one, other)))
    if one == other or longer - shorter > 1 or shorter < SHORTEST:
        return False
    letters = enumerate(zip(one, other, strict=False))
    same = next((at for at, (a, b) in letters if a != b), shorter)
    rest, other_rest = one[same:], other[same:]
    if rest[1:] == other_rest[1:] or rest[1:] == other_rest or rest == other_rest[1:]:
        return True
    return rest[:2] == other_rest[1::-1] and rest[2:] == other_rest[2:]


def _files(names: Collection[str], folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    try:
        files = {file.name.lower(): file for file in folder.iterdir() if file.is_file()}
    except OSError as error:
        raise Refused(f"{folder} can't be listed: {error.strerror}") from None
    return {name: _text(files[name]) for name in files.keys() & names}


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        # The error's own words may hold a part of the secret.
        raise Refused(f"{file} can't be read, or is no text") from None
