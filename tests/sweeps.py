"""Sweeps try one point after another. `make test` tries a sample of them, `make sweeps` all.

A test that asks for a sample is marked `sweep`. One that is marked `long` is in a whole sweep
alone. A test that would run on both engines runs on one of them in a sample, always the same.
"""

import os
import zlib
from collections.abc import Sequence
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

# Most tests of whole processes run on one of them in a sample.
ENGINES = ("sqlite", "postgresql")
# Both engines, and both sides of a crash; each second one is another side of each engine.
SIDES = [
    ("sqlite", "before"),
    ("sqlite", "after"),
    ("postgresql", "after"),
    ("postgresql", "before"),
]


def is_whole() -> bool:
    return os.environ.get("SWEEP") == "whole"


def sample(points: Sequence[T], *, every: int, first: int = 0) -> Sequence[T]:
    """Return each `every`-th point from number `first` on, or all of them in a whole sweep."""
    return points if is_whole() else points[first::every]


def is_sample() -> bool:
    """Return whether all tests run, so that one engine is enough for each; not one file of them."""
    return os.environ.get("SWEEP") == "sample"


def choose(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a whole sweep alone has, or have `-m sweep` find it where this is one."""
    left_out = {item for item in items if item.get_closest_marker("long")}
    if is_whole() or is_sample():
        left_out |= _on_the_other_engine(items)
    if is_whole():
        for item in left_out:
            item.add_marker("sweep")
    else:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=list(left_out))


def _on_the_other_engine(items: list[pytest.Item]) -> set[pytest.Item]:
    """Find one of each two that are the same test on two engines; half of them are on each."""
    pairs: dict[tuple[str, str], dict[str, pytest.Item]] = {}
    for item in items:
        parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
        engine = parameters.get("engine")
        if engine in ENGINES:
            test, _, values = item.nodeid.partition("[")
            pairs.setdefault((test, values.replace(engine, "", 1)), {})[engine] = item
    return {
        pair[ENGINES[zlib.crc32("".join(name).encode()) % 2]]
        for name, pair in pairs.items()
        if len(pair) == len(ENGINES)
    }
