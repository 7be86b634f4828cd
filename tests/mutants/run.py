"""Plants each mutant in a copy of the code and runs the tests that must catch it.

Not named `test_…`: these are for `make mutants`, not for `make test`.
"""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.mutants import MUTANTS
from tests.mutants.mutant import KINDS, Mutant

SECONDS = 120
CAUGHT = 1  # pytest's exit code when tests ran and some failed


def run_tests(tree: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run tests in the tree, up to the first that fails."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.room}: {mutant.name}")
def test_a_mutant_is_caught(mutant: Mutant, tree: Path) -> None:
    path = tree / mutant.file
    before = path.read_text()
    assert before.count(mutant.text) == 1, f"{mutant.file} has changed: plant it in another way"
    path.write_text(before.replace(mutant.text, mutant.instead))
    try:
        done = run_tests(tree, mutant.tests)
    finally:
        path.write_text(before)

    assert done.returncode == CAUGHT, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("room", sorted({mutant.room for mutant in MUTANTS}))
def test_without_a_mutant_its_tests_pass(room: str, tree: Path) -> None:
    tests = {test for mutant in MUTANTS if mutant.room == room for test in mutant.tests}

    done = run_tests(tree, tuple(sorted(tests)))

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_each_room_has_a_mutant_of_each_kind() -> None:
    planted = defaultdict(set)
    for mutant in MUTANTS:
        planted[mutant.room].add(mutant.kind)

    assert {room: KINDS - kinds for room, kinds in planted.items() if kinds != KINDS} == {}
