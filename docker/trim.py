"""Cuts from a tree of installed packages what no service loads.

    python docker/trim.py TREE

More than half of the wheels' binaries is for debuggers. It lies behind what the loader maps, on
every architecture alike, so it is cut off without a tool for the target. Cut off as well is what
packages bring along for uses that are not ours; tests/deploy/test_trim.py holds that every service
does without.
"""

import struct
import sys
from pathlib import Path

import elf

# Of compiled modules, and what packages bring to test themselves and those that plug into them.
SOURCES = {".c", ".cpp", ".h", ".hpp", ".pxd", ".pxi", ".pyi", ".pyx"}
TESTS = {"testing", "tests"}
# Packages by their folder below site-packages.
NEVER_LOADED = {
    "dns",  # whether a domain takes e-mail is nothing we ask
    "google/api",  # of Google's interfaces OpenTelemetry speaks rpc alone
    "google/cloud",
    "google/gapic",
    "google/logging",
    "google/longrunning",
    "google/type",
    "markdown_it",  # rich's Markdown
    "mdurl",
    "pydantic/v1",  # the former pydantic, for those who still need it
    "pygments",  # rich's coloured source code
    "sqlalchemy/dialects/mssql",
    "sqlalchemy/dialects/mysql",
    "sqlalchemy/dialects/oracle",
}
# Where the header says where the table of sections starts, and how many there are.
TABLE, COUNTS = slice(40, 48), slice(60, 64)


def main(tree: Path) -> int:
    paths = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
    before = sum(path.stat().st_size for path in paths)
    for path in paths:
        if is_superfluous(path.relative_to(tree)):
            path.unlink()
        elif elf.is_elf(path):
            path.write_bytes(without_sections(path.read_bytes()))
    # An empty folder could be imported, and would not say what it lacks.
    for folder in sorted((path for path in tree.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    after = sum(path.stat().st_size for path in paths if path.exists())
    print(f"trim: {before / 1e6:.0f} MB became {after / 1e6:.0f} MB")
    return 0


def is_superfluous(path: Path) -> bool:
    if path.suffix in SOURCES or TESTS.intersection(path.parts):
        return True
    package = path.as_posix().partition("/site-packages/")[2]
    return any(package.startswith(f"{name}/") for name in NEVER_LOADED)


def without_sections(content: bytes) -> bytes:
    """Keep what is loaded, and let the header say that there are no sections."""
    start, size, count = elf.program_headers(content)
    loaded = [one.offset + one.size for one in elf.segments(content) if one.kind == elf.LOAD]
    kept = bytearray(content[: max(start + size * count, *loaded)])
    kept[TABLE] = struct.pack("<Q", 0)
    kept[COUNTS] = struct.pack("<HH", 0, 0)
    return bytes(kept)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
