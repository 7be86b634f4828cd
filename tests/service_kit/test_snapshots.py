"""Before a SQLite file is migrated, a copy of it as it was is kept."""

import errno
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from crm_api.commands import main
from service_kit.database import DatabaseUnavailable
from service_kit.database.sqlite import snapshots
from service_kit.database.sqlite.snapshots import snapshots_of
from tests.conftest import SERVICES
from tests.service_kit.test_migrations import change, migrate_to, write_migration

pytestmark = pytest.mark.slow

CRM = "crm_api"


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """Give a database of the CRM from before its newest migration, with a row in it."""
    path = tmp_path / "data" / "crm.db"
    migrate_to("0012", CRM, f"sqlite:///{path}", tmp_path / "older")
    change(f"sqlite:///{path}", "UPDATE feed_head SET epoch = 'abababababababab'")
    return path


def seen_in(path: Path) -> tuple[str, str]:
    """Return a database's revision, and the epoch of its feed."""
    with closing(sqlite3.connect(path)) as database:
        [(revision,)] = database.execute("SELECT version_num FROM alembic_version")
        [(epoch,)] = database.execute("SELECT epoch FROM feed_head")
        return revision, epoch


def test_a_snapshot_is_the_database_as_it_was(older: Path) -> None:
    older.chmod(0o640)

    before = SERVICES[CRM].migrations().upgrade(f"sqlite:///{older}", snapshots=3)

    [kept] = snapshots_of(older)
    assert before == "0012"
    assert kept.name.endswith("-0012")
    assert seen_in(kept) == ("0012", "abababababababab")
    assert seen_in(older) == (SERVICES[CRM].migrations().head, "abababababababab")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640
    assert {path.name for path in older.parent.iterdir()} == {"crm.db", kept.name}


def test_without_a_migration_there_is_none(older: Path) -> None:
    migrations = SERVICES[CRM].migrations()
    migrations.upgrade(f"sqlite:///{older}")
    assert snapshots_of(older) == []

    migrations.upgrade(f"sqlite:///{older}", snapshots=3)
    migrations.upgrade(f"sqlite:///{older.with_name('new.db')}", snapshots=3)

    assert {path.name for path in older.parent.iterdir()} == {"crm.db", "new.db"}


@pytest.mark.parametrize(("setting", "kept"), [("0", 0), ("2", 2), ("", 3)])
@pytest.mark.usefixtures("log_as_before")
def test_the_newest_are_kept_as_the_settings_say(
    setting: str, kept: int, older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = [f"{older}.snapshot-20260{month}01T000000Z-0011" for month in (1, 2, 3)]
    for path in earlier if kept else ():
        Path(path).touch()
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{older}")
    monkeypatch.setenv("SNAPSHOTS", setting)

    assert main(["migrate"]) == 0

    found = [str(path) for path in snapshots_of(older)]
    assert len(found) == kept
    assert not kept or found[:-1] == earlier[-kept + 1 :]


def test_a_migration_that_fails_has_its_snapshot(older: Path, tmp_path: Path) -> None:
    migrations = SERVICES[CRM].migrations()
    migrations.folder = tmp_path / "older"
    write_migration(migrations.folder, "0013", "0012", "INSERT INTO feed_head VALUES (NULL)")

    with pytest.raises(Exception, match="feed_head"):
        migrations.upgrade(f"sqlite:///{older}", snapshots=3)

    [kept] = snapshots_of(older)
    assert seen_in(kept) == seen_in(older) == ("0012", "abababababababab")


def test_without_room_for_it_nothing_is_migrated(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(snapshots, "flush", full)

    with pytest.raises(DatabaseUnavailable, match=r"No space left.*SNAPSHOTS=0 does without"):
        SERVICES[CRM].migrations().upgrade(f"sqlite:///{older}", snapshots=3)

    assert seen_in(older)[0] == "0012"
    assert [path.name for path in older.parent.iterdir()] == ["crm.db"]
