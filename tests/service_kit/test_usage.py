"""Who uses a SQLite file holds a lock beside it; who replaces it holds that alone."""

import fcntl
import os
from pathlib import Path

import pytest

from service_kit.database import DatabaseUnavailable
from service_kit.database.sqlite import usage
from service_kit.database.sqlite.usage import FileUse


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(usage, "WAIT_SECONDS", 0.05)
    (tmp_path / "boxes.db").touch(0o640)
    return tmp_path / "boxes.db"


def left_beside(path: Path) -> list[str]:
    return [name for name in os.listdir(path.parent) if name != path.name]  # noqa: PTH208


def test_many_use_a_file_and_the_last_one_leaves_nothing(path: Path) -> None:
    one, other = FileUse(path), FileUse(path)
    one.release()
    one.release()

    with pytest.raises(DatabaseUnavailable, match="another process has it open"):
        FileUse(path, alone=True)
    other.release()

    assert left_beside(path) == []


def test_who_is_alone_lets_nobody_in(path: Path) -> None:
    with FileUse(path, alone=True):
        for alone, words in ((False, "is restoring or moving it"), (True, "has it open")):
            with pytest.raises(DatabaseUnavailable, match=words):
                FileUse(path, alone=alone)

    FileUse(path).release()
    assert left_beside(path) == []


def test_a_link_leads_to_the_same_lock(path: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)

    with FileUse(link), pytest.raises(DatabaseUnavailable):
        FileUse(path, alone=True)


def test_a_lock_on_a_file_that_was_removed_meanwhile_counts_for_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening it and locking it, the last user may remove it and another make a new one."""
    real, removed = fcntl.flock, []

    def flock(number: int, how: int) -> None:
        if not removed:
            removed.append(True)
            Path(f"{path}.in-use").unlink()
        real(number, how)

    monkeypatch.setattr(fcntl, "flock", flock)

    with FileUse(path):
        assert removed
        with pytest.raises(DatabaseUnavailable):
            FileUse(path, alone=True)


def test_where_there_are_no_such_locks_a_database_is_used_without_and_not_replaced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(_number: int, _how: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)

    FileUse(path).release()
    with pytest.raises(OSError, match="not supported"):
        FileUse(path, alone=True)
