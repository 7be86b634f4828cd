"""Plants each mutant in a copy of the code and runs the tests that must catch it.

Not named `test_…`: these are for `make mutants`, not for `make test`.
"""

import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.mutants import MUTANTS
from tests.mutants.mutant import KINDS, Mutant

SECONDS = 120
ALL_SECONDS = 570
CAUGHT = 1  # pytest's exit code when tests ran and some failed


def run_tests(
    tree: Path, tests: Iterable[str], engine: str, seconds: float = SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run tests in the tree, up to the first that fails."""
    chosen = ["-k", "not postgresql"] if engine == "sqlite" else []
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *chosen, *tests],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=seconds,
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
        done = run_tests(tree, mutant.tests, mutant.engine)
    finally:
        path.write_text(before)

    assert done.returncode == CAUGHT, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.timeout(ALL_SECONDS + 30)
@pytest.mark.parametrize("engine", ["sqlite", "both"])
def test_without_a_mutant_all_these_tests_pass(engine: str, tree: Path) -> None:
    tests = {test for mutant in MUTANTS if mutant.engine == engine for test in mutant.tests}
    if not tests:
        return

    done = run_tests(tree, sorted(tests), engine, ALL_SECONDS)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_each_room_has_a_mutant_of_each_kind() -> None:
    planted = defaultdict(set)
    for mutant in MUTANTS:
        planted[mutant.room].add(mutant.kind)

    assert {room: KINDS - kinds for room, kinds in planted.items() if kinds != KINDS} == {}
