"""Sweeps try one point after another. `make test` tries a sample of them, `make sweeps` all.

A test that asks for a sample is marked `sweep`.
"""

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def is_whole() -> bool:
    return os.environ.get("SWEEP") == "whole"


def sample(points: Sequence[T], *, every: int, first: int = 0) -> Sequence[T]:
    """Return each `every`-th point from number `first` on, or all of them in a whole sweep."""
    return points if is_whole() else points[first::every]
