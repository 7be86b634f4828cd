"""Variables of the environment, or files of the same names, as secrets come."""

import os
from collections.abc import Collection
from pathlib import Path

SECRETS_DIR = Path("/run/secrets")


class Refused(ValueError):
    """The environment asks for something this service can't start with."""


def variables(names: Collection[str], secrets: Path = SECRETS_DIR) -> dict[str, str]:
    """Return what is set of these names, upper case or lower; what is empty counts as not set.

    A variable wins over a file. Raises Refused for secrets that can't be read.
    """
    found = _files(names, secrets) | {name.lower(): value for name, value in os.environ.items()}
    return {name: found[name] for name in names if found.get(name)}


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
