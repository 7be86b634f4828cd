"""The checksum in a file is of all that is in it but itself."""

from pathlib import Path

import pytest

from service_kit.database.copies import checksum


@pytest.fixture
def sealed(tmp_path: Path) -> tuple[Path, str]:
    """Give a file and the checksum that was written into it."""
    path, blank = tmp_path / "file", checksum.blank()
    path.write_bytes(b"before\n" + blank.encode() + b"\nbehind")
    checksum.seal(path, blank)
    before, found, behind = path.read_text().split("\n")
    assert (before, len(found), behind) == ("before", 64, "behind")
    return path, found


def test_a_file_as_it_was_sealed_is_so(sealed: tuple[Path, str]) -> None:
    path, found = sealed
    assert checksum.is_sealed(path, found)


def test_any_other_byte_is_told(sealed: tuple[Path, str]) -> None:
    path, found = sealed
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert not checksum.is_sealed(path, found), at
    for changed in (content[:-1], content + b"x", b"x" + content):
        path.write_bytes(changed)
        assert not checksum.is_sealed(path, found)


@pytest.mark.parametrize("text", ["", "0" * 64, "before"])
def test_what_is_no_checksum_seals_nothing(sealed: tuple[Path, str], text: str) -> None:
    path, _ = sealed
    assert not checksum.is_sealed(path, text)
