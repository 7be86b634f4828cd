"""Plants each mutant in a copy of the code and runs the tests that must catch it.

Not named `test_…`: these are for `make mutants`, not for `make test`.
"""

import itertools
import os
from collections import defaultdict
from pathlib import Path

import pytest

from tests.mutants import MUTANTS
from tests.mutants.forked import run_tests
from tests.mutants.mutant import KINDS, Mutant

_SECOND = itertools.count(1_000_000_000)
SECONDS = 120
TRIES = 3  # two who do something at once are not at it at once each time
ALL_SECONDS = 900
CAUGHT = 1  # pytest's exit code when tests ran and some failed


@pytest.mark.timeout(TRIES * SECONDS + 30)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.package}: {mutant.name}")
def test_a_mutant_is_caught(mutant: Mutant, tree: Path) -> None:
    path = tree / mutant.file
    before = path.read_text()
    assert before.count(mutant.text) == 1, f"{mutant.file} has changed: plant it in another way"
    path.write_text(before.replace(mutant.text, mutant.instead))
    # A compiled file knows its source by its length and the second of its change.
    second = next(_SECOND)
    os.utime(path, (second, second))
    try:
        done = run_tests(tree, mutant.tests, mutant.engine, SECONDS)
        for _ in range(1, TRIES):
            if done.exit_code == CAUGHT:
                break
            done = run_tests(tree, mutant.tests, mutant.engine, SECONDS)
    finally:
        path.write_text(before)

    assert done.exit_code == CAUGHT, done.log[-3000:]


@pytest.mark.timeout(ALL_SECONDS + 30)
@pytest.mark.parametrize("engine", ["sqlite", "both"])
def test_without_a_mutant_all_these_tests_pass(engine: str, tree: Path) -> None:
    tests = {test for mutant in MUTANTS if mutant.engine == engine for test in mutant.tests}
    if not tests:
        return

    done = run_tests(tree, sorted(tests), engine, ALL_SECONDS)

    assert done.exit_code == 0, done.log[-3000:]


def test_each_package_has_a_mutant_of_each_kind() -> None:
    planted = defaultdict(set)
    for mutant in MUTANTS:
        planted[mutant.package].add(mutant.kind)

    assert {package: KINDS - kinds for package, kinds in planted.items() if kinds != KINDS} == {}
