"""Reads what the loader reads of an ELF file: machine, segments, the libraries it needs."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MAGIC = b"\x7fELF"
LITTLE_ENDIAN_64_BIT = b"\x02\x01"
LOAD, DYNAMIC = 1, 2
END, NEEDED, STRING_TABLE = 0, 1, 5


class BrokenFile(ValueError):
    """It begins like an ELF file and does not go on like one."""


class Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


def is_elf(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def machine(content: bytes) -> int:
    """Give the number of the machine; -1 for a kind that none of ours is."""
    if content[4:6] != LITTLE_ENDIAN_64_BIT:
        return -1
    return int(struct.unpack_from("<H", content, 18)[0])


def segments(content: bytes) -> list[Segment]:
    start, size, count = program_headers(content)
    found = []
    for at in range(start, start + size * count, size):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", content, at)
        found.append(Segment(kind, offset, address, length))
    return found


def program_headers(content: bytes) -> tuple[int, int, int]:
    """Give where they start, the size of each and their number."""
    (start,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    return start, size, count


def needed(content: bytes) -> Iterator[str]:
    """Name the libraries that the loader will look for."""
    found = segments(content)
    entries = [entry for segment in found for entry in _dynamic(content, segment)]
    tables = [value for tag, value in entries if tag == STRING_TABLE]
    if not tables:
        return
    names = _offset(found, tables[0])
    for tag, value in entries:
        if tag == NEEDED:
            start = names + value
            yield content[start : content.index(b"\0", start)].decode()


def _dynamic(content: bytes, segment: Segment) -> Iterator[tuple[int, int]]:
    if segment.kind != DYNAMIC:
        return
    for at in range(segment.offset, segment.offset + segment.size, 16):
        tag, value = struct.unpack_from("<qQ", content, at)
        if tag == END:
            return
        yield tag, value


def _offset(found: list[Segment], address: int) -> int:
    for segment in found:
        if segment.kind == LOAD and 0 <= address - segment.address < segment.size:
            return segment.offset + address - segment.address
    raise BrokenFile("its string table is in no segment that is loaded")
