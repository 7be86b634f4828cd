"""Checks that requirements/*.txt are what pyproject.toml's groups compile to.

    python tools/check_lock.py GROUP [GROUP ...]

A pin that still fits is kept, so a newer release elsewhere is no fault; a group that was changed
without `make lock` is.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMPILE = [
    "pip",
    "compile",
    "--quiet",
    "--universal",
    "--python-version",
    "3.11",
    "--generate-hashes",
    "--no-header",
    "--no-annotate",
    "--no-emit-index-url",
]


def main(groups: list[str]) -> int:
    stale = [group for group in groups if is_stale(group)]
    for group in stale:
        print(f"requirements/{group}.txt does not fit pyproject.toml: run make lock")
    return 1 if stale else 0


def is_stale(group: str) -> bool:
    locked = ROOT / "requirements" / f"{group}.txt"
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / locked.name
        shutil.copy(locked, compiled)
        uv = Path(sys.executable).with_name("uv")
        command = [str(uv), *COMPILE, "--group", group, "--output-file", str(compiled)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return compiled.read_text() != locked.read_text()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
