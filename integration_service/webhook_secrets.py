"""Secrets that ROUTES_FILE names: variables of the environment, or files of the same names."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from integration_service.routes.definitions import WebhookRoute
from integration_service.routes.file import RoutesFile
from integration_service.routes.mistakes import Mistake
from service_kit.process.environment import Refused, near_misses
from service_kit.process.settings import SECRETS_DIR


class SecretMissing(Refused):
    """A secret can't be had; the text names it and never shows what was found."""


def secret_values(
    names: Iterable[str],
    environ: Mapping[str, str] = os.environ,
    secrets_dir: Path = SECRETS_DIR,
) -> tuple[str, ...]:
    """Return the secrets of these names, in their order. Raises SecretMissing."""
    return tuple(_value(name, environ, secrets_dir) for name in names)


def missing_secrets(
    file: RoutesFile, environ: Mapping[str, str] = os.environ, secrets_dir: Path = SECRETS_DIR
) -> list[Mistake]:
    """Tell of each secret that a route names and nobody has set."""
    mistakes = []
    for route in file.routes:
        for name in route.secrets if isinstance(route, WebhookRoute) else ():
            try:
                secret_values([name], environ, secrets_dir)
            except SecretMissing as fault:
                mistakes.append(file.mistake(route, "secret", str(fault)))
    return mistakes


def _value(name: str, environ: Mapping[str, str], folder: Path) -> str:
    """Read one as settings are read: a variable first, then a file in any case of its name."""
    if value := environ.get(name, "").strip():
        return value
    path = folder / name
    try:
        for file in folder.iterdir() if folder.is_dir() else ():
            if file.name.upper() == name:
                path = file
                value = path.read_text("utf-8").strip()
    except OSError as error:
        raise SecretMissing(f"{error.filename} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SecretMissing(f"{path} is no text") from None
    if value:
        return value
    text = f"{name} is not set; set this variable, or write {path}"
    raise SecretMissing(". ".join([text, *near_misses([name], environ)]))
