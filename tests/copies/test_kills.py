"""A process that is killed in the middle of a copy leaves the old state or the new one, whole."""

import itertools
import random
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.conftest import ROOT, NewDatabase
from tests.copies.conftest import Elsewhere, Run
from tests.copies.rows import Copied, change, path_of
from tests.copies.test_move import is_usable
from tests.sweeps import is_whole, sample
from tests.system.processes import Nursery, bare_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CRM = "crm_api"
SEEDS = range(50)
# So many of them in a sample, for each command and engine.
EVERY = 13

# Runs a command in a process that ends at a call; 0 for never. Returns its exit code and its calls.
Kill = Callable[[int, str, Sequence[str | Path]], tuple[int, int]]


@pytest.fixture
def kill(nursery: Nursery, tmp_path: Path) -> Kill:
    numbers = itertools.count()

    def kill(at: int, url: str, command: Sequence[str | Path]) -> tuple[int, int]:
        folder = tmp_path / f"run-{next(numbers)}"
        folder.mkdir()
        log, calls = folder / "log", folder / "calls"
        own = {"DATABASE_URL": url, "KILL_AT": str(at), "CALLS": str(calls)}
        order = ["tests.copies.killed", CRM, *(str(part) for part in command)]
        process = nursery.start(order, bare_environment() | own, ROOT, log, log)
        code = process.wait(60)
        assert code in {0, -signal.SIGKILL}, log.read_text()
        return code, int(calls.read_text()) if code == 0 else 0

    return kill


def places(calls: int) -> list[int]:
    """Choose calls to die at, most of them near the end, where files and marks change."""
    chances = (random.Random(seed).uniform(0.3, 1) for seed in sample(SEEDS, every=EVERY))
    return [max(1, calls - int(calls**chance)) for chance in chances]


class Left:
    """What was there after each run, and whether it was killed."""

    def __init__(self) -> None:
        self._found = Counter[tuple[bool, str]]()

    def note(self, code: int, state: str) -> None:
        assert code or state == "new"
        self._found[code != 0, state] += 1

    def check(self) -> None:
        """Find that most of them were killed, and in a whole sweep before and after the change."""
        killed = self._found[True, "old"] + self._found[True, "new"]
        assert killed > self._found.total() // 2, self._found
        assert not is_whole() or all(self._found[True, state] for state in ("old", "new"))


def but_the_feeds_head(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: digest for name, digest in found.items() if name != "feed_head"}


def change_something(one: Copied, url: str) -> None:
    change(one.migrations, url, lambda db: db.execute(text("UPDATE customers SET name = 'Eve'")))


@pytest.mark.sweep
def test_a_backup_that_is_killed_leaves_the_old_file_or_the_new_one(
    new_database: NewDatabase, run: Run, kill: Kill, tmp_path: Path
) -> None:
    one, url, file = Copied(CRM), new_database(CRM), tmp_path / "copies" / "crm.db"
    file.parent.mkdir()
    one.fill(url)
    kill(0, url, ["backup", file])
    _, calls = kill(0, url, ["backup", file])  # over one that is there, as below
    old = one.digests(url)
    change_something(one, url)
    new = one.digests(url)
    kept, left = file.read_bytes(), Left()

    for place in places(calls):
        file.write_bytes(kept)
        code, _ = kill(place, url, ["backup", file])
        assert run(CRM, url, "verify", file).code == 0
        found = one.digests(f"sqlite:///{file}")
        assert found in (old, new)
        left.note(code, "old" if found == old else "new")

    left.check()
    assert run(CRM, url, "backup", file).code == 0
    assert one.digests(f"sqlite:///{file}") == new
    assert [path.name for path in file.parent.iterdir()] == ["crm.db"]


@pytest.mark.sweep
def test_a_restore_that_is_killed_leaves_the_old_database_or_the_new_one(
    new_database: NewDatabase, run: Run, kill: Kill, tmp_path: Path
) -> None:
    one, url, file = Copied(CRM), new_database(CRM), tmp_path / "crm.db"
    one.fill(url)
    assert run(CRM, url, "backup", file).code == 0
    new = but_the_feeds_head(one.digests(url))
    _, calls = kill(0, url, ["restore", file])
    left = Left()

    for place in places(calls):
        change_something(one, url)
        old, epoch = one.digests(url), one.all(url, "feed_head")[0].epoch
        code, _ = kill(place, url, ["restore", file])
        found = one.digests(url)
        is_old = found == old
        assert is_old or but_the_feeds_head(found) == new
        assert is_old == (one.all(url, "feed_head")[0].epoch == epoch)
        assert run(CRM, url, "migrate").code == 0
        left.note(code, "old" if is_old else "new")

    left.check()
    assert run(CRM, url, "restore", file).code == 0
    assert but_the_feeds_head(one.digests(url)) == new
    if url.startswith("sqlite:"):
        own = path_of(url)
        others = {path.name for path in own.parent.glob(f"{own.name}*")} - {own.name}
        assert all(".replaced-" in name for name in others)
        assert not [name for name in others if (own.parent / name).samefile(own)]


@pytest.mark.sweep
def test_a_move_that_is_killed_is_run_again_and_nothing_is_at_two_places(
    new_database: NewDatabase, elsewhere: Elsewhere, run: Run, kill: Kill
) -> None:
    one, left = Copied(CRM), Left()
    source = new_database(CRM)
    one.fill(source)
    target = elsewhere()
    _, calls = kill(0, source, ["move", "--to", target])

    for place in places(calls):
        source, target = new_database(CRM), elsewhere()
        path_of(target).unlink(missing_ok=True)
        one.fill(source)
        before = one.digests(source)
        code, _ = kill(place, source, ["move", "--to", target])
        usable = [url for url in (source, target) if is_usable(run, url)]
        assert len(usable) < 2
        assert source not in usable or one.digests(source) == before
        left.note(code, "new" if usable == [target] else "old")
        if usable != [target]:
            again = run(CRM, source, "move", "--to", target)
            assert again.code == 0, again.err
        assert one.digests(target) == before
        assert [url for url in (source, target) if is_usable(run, url)] == [target]

    left.check()
