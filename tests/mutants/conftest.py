import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDERS = ("crm_api", "inventory_api", "integration_service", "service_kit", "tests")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what tests run in, once for each worker; a mutant is planted in it and taken out."""
    tree = tmp_path_factory.mktemp("mutants")
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(ROOT / folder, tree / folder, ignore=ignored)
    for file in ("pyproject.toml", ".env.example", "README.md"):
        shutil.copy(ROOT / file, tree / file)
    return tree
