"""Plants bugs, so that a test can show that it would find them."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT, SERVICES


@dataclass(frozen=True)
class Change:
    """A text in a file of the code, and what stands there instead."""

    file: str
    text: str
    instead: str


def copy_of_the_code(folder: Path, changes: Sequence[Change]) -> Path:
    """Copy the services' packages, and change the copy; each text must stand there once."""
    for package in (*SERVICES, "console", "service_kit"):
        shutil.copytree(ROOT / package, folder / package)
    for change in changes:
        path = folder / change.file
        text = path.read_text()
        assert text.count(change.text) == 1, f"{change.file} has changed: plant it in another way"
        path.write_text(text.replace(change.text, change.instead))
    return folder
