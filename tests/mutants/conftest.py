import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT

LEFT_OUT = (".*", "__pycache__", "node_modules", "data")


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the repository, once for each worker; a mutant is planted in it and taken out again."""
    tree = tmp_path_factory.mktemp("mutants") / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
    shutil.copy(ROOT / ".env.example", tree)
    return tree
