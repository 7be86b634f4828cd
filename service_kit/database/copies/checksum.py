"""The checksum that a backup holds of itself.

It is the SHA-256 of the whole file, in which its own 64 letters count as zeros: so it can be
written into a file that is there already, and a change of any other byte shows.
"""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path

_ZEROS = b"0" * 64


def blank() -> str:
    """Return what stands in the checksum's place until it is written, and nowhere else."""
    return secrets.token_hex(len(_ZEROS) // 2)


def seal(path: Path, blank: str) -> None:
    """Write the checksum where the blank stands, in a file that nobody has open."""
    with _content(path) as content:
        at = content.find(blank.encode())
        checksum = _sha256(content, at)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(checksum.encode())


def is_sealed(path: Path, checksum: str) -> bool:
    """Tell whether a file is as it was when this checksum was written into it."""
    with _content(path) as content:
        at = content.find(checksum.encode())
        return at >= 0 and _sha256(content, at) == checksum


@contextmanager
def _content(path: Path) -> Iterator[mmap]:
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        yield content


def _sha256(content: mmap, at: int) -> str:
    found = hashlib.sha256()
    with memoryview(content) as view:
        found.update(view[:at])
        found.update(_ZEROS)
        found.update(view[at + len(_ZEROS) :])
    return found.hexdigest()
