"""What the commands of copies say and show, and what keeps them from their work."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, NewDatabase, with_database
from tests.copies.conftest import Run
from tests.copies.rows import Copied
from tests.system.processes import bare_environment

pytestmark = [pytest.mark.slow, pytest.mark.engine("sqlite")]

# No file may grow past this; so small a limit is a full disk to whoever writes.
FULL = "ulimit -f 100"


def shell(url: str, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", "-c", script],
        cwd=ROOT,
        env=bare_environment() | {"DATABASE_URL": url, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_full_disk_is_told_and_all_is_as_before(
    new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    one, url, file = Copied("crm_api"), new_database("crm_api"), tmp_path / "crm.db"
    one.fill(url, 10)
    assert run("crm_api", url, "backup", file).code == 0
    kept = file.read_bytes()
    one.fill_more(url)
    before = one.digests(url)

    for command in (f"backup {file}", f"restore {file}"):
        ran = shell(url, f"{FULL}; exec $PYTHON -m crm_api {command}")
        assert (ran.returncode, ran.stdout) == (1, ""), ran.stderr
        last = ran.stderr.splitlines()[-1]
        assert re.search(r"^crm_api: .*(disk|full|large)", last, re.IGNORECASE), ran.stderr
        assert "Traceback" not in ran.stderr

    assert file.read_bytes() == kept
    assert one.digests(url) == before
    assert [path.name for path in tmp_path.iterdir()] == ["crm.db"]


def test_progress_is_a_bar_on_a_terminal(new_database: NewDatabase, tmp_path: Path) -> None:
    url = new_database("inventory_api")
    main, terminal = os.openpty()
    ran = subprocess.run(
        [sys.executable, "-m", "inventory_api", "backup", tmp_path / "copy.db"],
        cwd=ROOT,
        env=bare_environment() | {"DATABASE_URL": url, "TERM": "xterm", "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=terminal,
        timeout=60,
        check=False,
    )
    os.close(terminal)
    shown = os.read(main, 1 << 16).decode()
    os.close(main)

    assert ran.returncode == 0, shown
    assert "\x1b[" in shown
    assert "pages" in shown


@pytest.mark.parametrize("command", ["verify", "restore"])
def test_a_file_that_is_not_there_is_told(
    command: str, new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    url, file = new_database("crm_api"), tmp_path / "none.db"

    ran = run("crm_api", url, command, file)

    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"crm_api: {file}: there is no such file\n"
    assert not list(tmp_path.iterdir())


def test_a_place_that_can_not_be_moved_to_is_told_without_its_password(
    new_database: NewDatabase, run: Run, postgres_server: str
) -> None:
    url = new_database("crm_api")
    places = {
        "postgresql://ann:s3cret@127.0.0.1:1/crm": "[Errno 111] Connect call failed",
        postgres_server.replace("postgres:@", "nobody:s3cret@"): 'role "nobody" does not exist',
        with_database(postgres_server, "nowhere"): 'database "nowhere" does not exist',
    }
    for place, words in places.items():
        ran = run("crm_api", url, "move", "--to", place)
        assert (ran.code, ran.out) == (1, "")
        assert words in ran.err
        assert "s3cret" not in ran.err
        assert ran.err.count("\n") == 1


def test_a_command_that_is_interrupted_says_so(
    new_database: NewDatabase, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    url, file = new_database("crm_api"), tmp_path / "copy.db"
    monkeypatch.setattr("service_kit.database.copies.checksum.seal", interrupted)

    ran = run("crm_api", url, "backup", file)

    assert (ran.code, ran.out) == (130, "")
    assert "crm_api: stopped before its end: run it again\n" in ran.err
    assert not list(tmp_path.iterdir())


def test_inventorys_books_are_verified_as_before_and_backups_too(
    new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    url, file = new_database("inventory_api"), tmp_path / "copy.db"
    assert run("inventory_api", url, "backup", file).code == 0

    assert "the books balance" in run("inventory_api", url, "verify").out
    assert "copy.db: whole; taken" in run("inventory_api", url, "verify", file).out
    both = run("inventory_api", url, "verify", file, "--repair")
    assert (both.code, "--repair is for the database" in both.err) == (2, True)


def test_two_backups_into_one_file_do_not_meet(
    new_database: NewDatabase, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service_kit.database.copies.files import replacing

    url, file = new_database("crm_api"), tmp_path / "copy.db"
    monkeypatch.setattr("service_kit.database.sqlite.usage.WAIT_SECONDS", 0.1)

    with replacing(file) as part:
        ran = run("crm_api", url, "backup", file)
        assert part.exists()

    assert ran.code == 1
    assert "copy.db.part is being written by another process" in ran.err


def test_what_a_killed_backup_left_is_replaced(
    new_database: NewDatabase, run: Run, tmp_path: Path
) -> None:
    url, file = new_database("crm_api"), tmp_path / "copy.db"
    for suffix in (".part", ".part-journal", ".part.in-use"):
        Path(f"{file}{suffix}").write_text("half")

    assert run("crm_api", url, "backup", file).code == 0

    assert [path.name for path in tmp_path.iterdir()] == ["copy.db"]
    assert run("crm_api", url, "verify", file).code == 0
