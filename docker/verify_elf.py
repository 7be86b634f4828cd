"""Checks that every binary in a tree can run on an architecture, without running any.

    python docker/verify_elf.py amd64|arm64 TREE ROOT

TREE is what was installed, ROOT the root of the image that it goes into. Fails when a binary is for
another machine, or needs a library that is neither in TREE nor in ROOT's library folders.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import elf

MACHINES = {"amd64": (62, "x86_64-linux-gnu"), "arm64": (183, "aarch64-linux-gnu")}
NAMES = {number: name for name, (number, _) in MACHINES.items()}


def main(architecture: str, tree: Path, root: Path) -> int:
    binaries = [path for path in sorted(tree.rglob("*")) if elf.is_elf(path)]
    at_hand = {path.name for path in binaries} | set(libraries(architecture, root))
    faults = [fault for path in binaries for fault in faults_of(path, architecture, at_hand)]
    for fault in faults:
        print(f"verify_elf: {fault}", file=sys.stderr)
    print(f"verify_elf: {len(binaries)} binaries for {architecture}, {len(faults)} faults")
    return 1 if faults else 0


def libraries(architecture: str, root: Path) -> Iterator[str]:
    """Name what the loader finds in the image by itself."""
    triplet = MACHINES[architecture][1]
    for folder in (
        "lib",
        "lib64",
        "usr/lib",
        "usr/local/lib",
        f"lib/{triplet}",
        f"usr/lib/{triplet}",
    ):
        yield from (path.name for path in (root / folder).glob("*.so*"))


def faults_of(path: Path, architecture: str, at_hand: set[str]) -> Iterator[str]:
    content = path.read_bytes()
    machine = elf.machine(content)
    if machine != MACHINES[architecture][0]:
        found = NAMES.get(machine, "another machine")
        yield f"{path} is for {found}, not for {architecture}"
        return
    for name in elf.needed(content):
        if name not in at_hand:
            yield f"{path} needs {name}, which is neither installed nor in the base image"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
